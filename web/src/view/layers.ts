/** A stage shows layers, the lowest first: pictures or volumes with their look, and maps laid over them. */

import type { Overlay } from "../colourmap";
import { number, t } from "../text";
import type { Data, Pixels, Shown } from "./images";
import type { Look } from "./looks";

export interface Cover {
  name: Overlay;
  data: Data;
  opacity: number;
  most: number; // the value that the map's last colour stands for
  white: number; // the value that white of its picture stands for
}

export interface Layer {
  shown: Shown;
  look: Look;
  opacity: number;
  from: number; // it is shown right of this part of the stage
  covers: Cover[];
}

/** A window in the picture's values as levels 0 to 255. */
export function levels({ values: [lo, hi] }: Shown, { window }: Look): [number, number] {
  if (!window || hi === lo) return [0, 255];
  return [(255 * (window[0] - lo)) / (hi - lo), (255 * (window[1] - lo)) / (hi - lo)];
}

/** What a picture says at a place, in its own unit. */
export function valueAt(shown: Shown, x: number, y: number): string {
  const { width, height, rgba, colour } = shown.data as Pixels;
  const i = 4 * (Math.min(height - 1, Math.floor(y * height)) * width + Math.min(width - 1, Math.floor(x * width)));
  if (colour) return `R ${rgba[i]} G ${rgba[i + 1]} B ${rgba[i + 2]}`;
  const [lo, hi] = shown.values;
  return valued(shown, lo + (rgba[i]! / 255) * (hi - lo));
}

export function valued(shown: Shown, value: number): string {
  const text = [number(value), shown.unit].filter(Boolean).join(" ");
  return shown.exact ? text : t("about_value", { value: text });
}
