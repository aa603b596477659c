// The server tells in English how a request was honoured; what is told in known words is told in Chinese as well.

/** @type {[RegExp, string][]} */
const IN_CHINESE = [
  [/^made at (\d+x\d+), cut to (\d+x\d+) and enlarged by Real-ESRGAN to (\d+x\d+)$/, "以 $1 生成，裁剪为 $2，再由 Real-ESRGAN 放大到 $3"],
  [/^made at (\d+x\d+) and enlarged by Real-ESRGAN to (\d+x\d+)$/, "以 $1 生成，再由 Real-ESRGAN 放大到 $2"],
  [/^made at (\d+x\d+), cut to (\d+x\d+) and scaled to (\d+x\d+)$/, "以 $1 生成，裁剪为 $2，再缩放到 $3"],
  [/^made at (\d+x\d+) and scaled to (\d+x\d+)$/, "以 $1 生成，再缩放到 $2"],
  [/^made at (\d+x\d+) and cut to (\d+x\d+)$/, "以 $1 生成，再裁剪为 $2"],
  [/^negative_prompt not used, because guidance_scale is 0$/, "引导强度为 0，反向提示词未起作用"],
  [/^edited by filling the mask, because .*$/, "模型不理解指令，因此按蒙版重绘"],
  [/^edited by prompt-guided img2img(, the input images laid side by side)?, because .*$/, "模型不理解指令，因此按提示词重绘"],
  [/^the input images laid side by side$/, "输入图片并排放置"],
];

/**
 * @param {string} text
 * @param {"en" | "zh"} language
 */
export function adjustmentIn(text, language) {
  const known = language === "zh" ? IN_CHINESE.find(([english]) => english.test(text)) : null;
  return known ? text.replace(known[0], known[1]) : text;
}
