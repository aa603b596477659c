// The page's icons, drawn with lines of one weight.
import { html } from "../lib/html.js";

const SHAPES = {
  make: "M4 20l4.5-1 10-10a2.1 2.1 0 0 0-3-3l-10 10L4 20zM13.5 8.5l3 3",
  gallery: "M4 5h7v7H4zM13 5h7v7h-7zM4 14h7v5H4zM13 14h7v5h-7z",
  machine: "M4 18V9M9.3 18V5M14.6 18v-7M20 18v-4",
  text2img: "M5 6V4h14v2M12 4v16M9 20h6",
  img2img: "M4 5h16v14H4zM4 16l5-5 4 4 2.5-2.5L20 17M15.5 9h.01",
  fill: "M14 4l6 6-9.5 9.5H7L4 16.5zM9 9l6 6",
  controlnet: "M4 18c4 0 3-10 8-10s4 6 8 6M4 18h.01M12 8h.01M20 14h.01",
  edit: "M5 19l9-9M12.5 6l1-2 1 2 2 1-2 1-1 2-1-2-2-1zM18 12l.7-1.4.7 1.4 1.4.7-1.4.7-.7 1.4-.7-1.4-1.4-.7z",
  upscale: "M4 9V4h5M20 15v5h-5M4 4l6 6M20 20l-6-6",
  lock: "M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3",
  unlock: "M6 11h12v9H6zM9 11V8a3 3 0 0 1 5.6-1.5",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M12 12h.01M15 9h.01M9 15h.01",
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7 7 7",
  next: "M9 5l7 7-7 7",
  download: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 20h14",
  remove: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  reuse: "M5 12a7 7 0 0 1 12-5l2 2M19 5v4h-4M19 12a7 7 0 0 1-12 5l-2-2M5 19v-4h4",
  vary: "M4 7h3c5 0 5 10 10 10h3M4 17h3c2 0 3.200-1.600 4-3M13 10c.8-1.500 2-3 4-3h3M17.500 4.500L20 7l-2.500 2.500M17.500 14.500L20 17l-2.500 2.500",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  compare: "M12 3v18M4 6h5v12H4M20 6h-5v12h5",
  add: "M12 5v14M5 12h14",
  undo: "M8 5L4 9l4 4M4 9h10a6 6 0 0 1 0 12h-3",
  brush: "M19 4c-5 1-9 5-11 9l3 3c4-2 8-6 8-12zM8 13c-3 0-3 3-4 6 3 0 6 0 7-3",
  eraser: "M4 15l9-9 6 6-7 7H8zM9 10l6 6M8 19h12",
  invert: "M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16",
  search: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.500 15.500L20 20",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.500M12 19.500V21M3 12h1.500M19.500 12H21M5.600 5.600l1 1M17.400 17.400l1 1M5.600 18.400l1-1M17.400 6.600l1-1",
  moon: "M19 14.500A8 8 0 0 1 9.500 5a8 8 0 1 0 9.500 9.500z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  language: "M4 6h9M8.500 4v2M6 6c.500 3 3 6 6 7M11 6c-.500 3-3 6-6 7M12.500 20L16 11l3.500 9M13.700 17h4.600",
  down: "M6 9l6 6 6-6",
  signOut: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  use: "M14 4h6v6M20 4l-8 8M18 14v6H4V6h6",
  zoom: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.500 15.500L20 20M8.500 11h5M11 8.500v5",
  alone: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
  whole: "M11 5a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15.500 15.500L20 20M8.500 11h5",
  warning: "M12 4l9 16H3zM12 10v5M12 17.500h.01",
  stack: "M8 8h12v12H8zM16 8V4H4v12h4",
};

/** @param {{name: keyof typeof SHAPES}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${SHAPES[name]} />
  </svg>`;
}
