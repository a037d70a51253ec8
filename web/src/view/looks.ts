/** How things are shown: one view for all pictures, so that they stay linked. */

import { signal } from "@preact/signals";
import type { MapName, Overlay } from "../colourmap";

export type Mode = "side" | "swipe" | "blend" | "align";
export type Planes = "axial" | "coronal" | "sagittal" | "all";
export type Part = "a" | "b" | "f";

/** Colour map and window of one picture; `window` in its values, null for all of them. */
export interface Look {
  map: MapName;
  window: [number, number] | null;
}

export const PLAIN: Look = { map: "grey", window: null };
export const looks = { a: signal<Look>(PLAIN), b: signal<Look>(PLAIN), f: signal<Look>(PLAIN) };

export const mode = signal<Mode>("side");
export const planes = signal<Planes>("axial");
export const lower = signal<Part>("a");
export const upper = signal<Part>("f");
export const divider = signal(0.5);
export const blend = signal(0.5);

/** Zoom relative to fitting, and what of the picture lies in the middle, 0 to 1. */
export interface View {
  zoom: number;
  x: number;
  y: number;
}
export const FIT: View = { zoom: 1, x: 0.5, y: 0.5 };
export const view = signal<View>(FIT);

/** Where the cursor is, as parts of width and height. */
export const cursor = signal<{ x: number; y: number } | null>(null);

/** Overlays of the explain maps that are on, with their opacity. */
export const overlays = signal<Partial<Record<Overlay, number>>>({});

const MOST = 40;

/** Zoom by `factor` about a point given as parts of the picture. */
export function zoomBy(factor: number, x = view.value.x, y = view.value.y): void {
  const { zoom, x: cx, y: cy } = view.value;
  const to = Math.min(MOST, Math.max(1, zoom * factor));
  const share = zoom / to;
  view.value = to === 1 ? FIT : { zoom: to, x: within(x + (cx - x) * share), y: within(y + (cy - y) * share) };
}

export function panBy(dx: number, dy: number): void {
  const { zoom, x, y } = view.value;
  view.value = { zoom, x: within(x + dx), y: within(y + dy) };
}

const within = (share: number) => Math.min(1, Math.max(0, share));
