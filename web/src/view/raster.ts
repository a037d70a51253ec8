/** Pixels through window and colour map onto a canvas, redone only where one of them changed. */

import { MAPS, OVERLAYS, table, type MapName, type Overlay } from "../colourmap";
import type { Pixels } from "./images";

const tables = new Map<string, Uint8ClampedArray>();
const tableOf = (name: MapName | Overlay): Uint8ClampedArray => {
  let found = tables.get(name);
  if (!found) tables.set(name, (found = table({ ...MAPS, ...OVERLAYS }[name])));
  return found;
};

export class Raster {
  readonly canvas: OffscreenCanvas;
  private made = "";

  constructor(readonly pixels: Pixels) {
    this.canvas = new OffscreenCanvas(pixels.width, pixels.height);
  }

  /** Draw with levels `lo` to `hi` (of 0 to 255) as black and white; a coloured picture has no map. */
  draw(map: MapName | Overlay, lo: number, hi: number): OffscreenCanvas {
    const wanted = `${map} ${lo} ${hi}`;
    if (wanted === this.made) return this.canvas;
    this.made = wanted;
    const { rgba, colour, width, height } = this.pixels;
    const out = new Uint8ClampedArray(rgba.length);
    const level = new Uint8ClampedArray(256);
    for (let v = 0; v < 256; v++) level[v] = hi > lo ? (255 * (v - lo)) / (hi - lo) : v >= hi ? 255 : 0;
    if (colour) {
      for (let i = 0; i < rgba.length; i += 4) {
        out[i] = level[rgba[i]!]!;
        out[i + 1] = level[rgba[i + 1]!]!;
        out[i + 2] = level[rgba[i + 2]!]!;
        out[i + 3] = 255;
      }
    } else {
      const words = new Uint32Array(out.buffer);
      const colours = new Uint32Array(tableOf(map).buffer);
      for (let i = 0, k = 0; i < rgba.length; i += 4, k++) words[k] = colours[level[rgba[i]!]!]!;
    }
    this.canvas.getContext("2d")!.putImageData(new ImageData(out, width, height), 0, 0);
    return this.canvas;
  }
}

const rasters = new WeakMap<Pixels, Raster>();

export function raster(pixels: Pixels): Raster {
  let found = rasters.get(pixels);
  if (!found) rasters.set(pixels, (found = new Raster(pixels)));
  return found;
}
