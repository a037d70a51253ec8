/** What is shown: sources, fused pictures and maps, fetched once and kept while there is room. */

import { useEffect, useState } from "preact/hooks";
import { bytes } from "../api";

export interface Pixels {
  kind: "picture";
  width: number;
  height: number;
  rgba: Uint8ClampedArray;
  colour: boolean;
}

export interface Voxels {
  kind: "volume";
  nifti: ArrayBuffer;
  colour: boolean;
}

export type Data = Pixels | Voxels;
export type Role = "a" | "b" | "f" | "there" | "step";

/** One picture or volume with what its values mean. */
export interface Shown {
  key: string;
  role: Role;
  data: Data;
  colour: boolean;
  values: [number, number];
  unit: string;
  exact: boolean; // or its 8 bit stand for deeper values
}

const KEPT = 12;
const cache = new Map<string, Promise<Data>>();

export function load(key: string, path: string): Promise<Data> {
  const known = cache.get(key);
  if (known) {
    cache.delete(key);
    cache.set(key, known); // the latest used goes last
    return known;
  }
  const loading = fetched(path);
  cache.set(key, loading);
  loading.catch(() => cache.delete(key));
  for (const oldest of cache.keys()) {
    if (cache.size <= KEPT) break;
    cache.delete(oldest);
  }
  return loading;
}

async function fetched(path: string): Promise<Data> {
  const blob = await bytes(path);
  if (path.endsWith(".png")) return pixels(blob);
  const nifti = await unpacked(blob);
  const header = new DataView(nifti);
  const little = header.getInt32(0, true) === 348;
  return { kind: "volume", nifti, colour: [128, 2304].includes(header.getInt16(70, little)) }; // RGB24, RGBA32
}

async function unpacked(blob: Blob): Promise<ArrayBuffer> {
  const start = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  if (start[0] !== 0x1f || start[1] !== 0x8b) return blob.arrayBuffer();
  return new Response(blob.stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

export async function pixels(blob: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  let colour = false;
  for (let i = 0; i < rgba.length && !colour; i += 4) colour = rgba[i] !== rgba[i + 1] || rgba[i] !== rgba[i + 2];
  return { kind: "picture", width, height, rgba, colour };
}

/** The data of `path`, null until it is there; `key` tells apart what one address gave at two times. */
export function useData(key: string | null, path: string): { data: Data | null; problem: string | null } {
  const [state, put] = useState<{ key: string | null; data: Data | null; problem: string | null }>({
    key: null,
    data: null,
    problem: null,
  });
  useEffect(() => {
    let live = true;
    if (key) {
      load(key, path).then(
        (data) => live && put({ key, data, problem: null }),
        (error: Error) => live && put({ key, data: null, problem: error.message }),
      );
    }
    return () => {
      live = false;
    };
  }, [key, path]);
  return state.key === key && key !== null ? state : { data: null, problem: null };
}
