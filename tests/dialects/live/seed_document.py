"""The seed document beside this file, a verbatim copy, cut into its examples."""

import json
import re
from pathlib import Path
from typing import Any

SEED = Path(__file__).parent / "seed.md"
TEXT = SEED.read_text("utf-8")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

JAVASCRIPT = [body for tag, body in _BLOCK.findall(TEXT) if tag == "javascript"]


def example(heading: str) -> Any:  # noqa: ANN401 - JSON
    """The JSON block right after the only place where heading stands."""
    assert TEXT.count(heading) == 1, heading
    found = next(block for block in _BLOCK.finditer(TEXT, TEXT.index(heading)) if block[1] == "json")
    return json.loads(found[2])


CREATE_JOB = example("### 第二步：发送 `create_job` 消息")
PUSHED = [
    example(heading)
    for heading in (
        "**1) 任务已创建**",
        "**2) 开始处理**",
        "**3) 进度更新（每个推理步骤）**",
        "**4) 图片已生成（超分辨率处理前）**",
        "**5) 任务完成（包含超分辨率图片）**",
    )
]
GET_STATUS = example("### 查询任务状态")
CANCEL_JOB = example("### 取消任务")
GET_CLIENT_JOBS = example("### 获取客户端所有任务")
CLIENT_JOBS = example("需要在 WebSocket 连接时设置 `client_id`。返回：")
HEALTH = example("#### 健康检查")
