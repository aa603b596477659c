// The part of Preact that the page uses.
export type Child = object | string | number | boolean | null | undefined | Child[];
export interface VNode {
  type: unknown;
}
export function h(type: unknown, props: object | null, ...children: unknown[]): VNode;
export function render(node: VNode | null, parent: Element): void;
export const Fragment: unknown;
