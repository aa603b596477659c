declare const htm: {
  bind<R>(h: (type: any, props: any, ...children: any[]) => R): (parts: TemplateStringsArray, ...values: unknown[]) => R;
};
export default htm;
