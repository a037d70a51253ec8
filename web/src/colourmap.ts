/** Colour maps, one list for canvas and NiiVue: grey level I to R, G, B and opacity A, linear in between. */

export interface ColourMap {
  R: number[];
  G: number[];
  B: number[];
  A: number[];
  I: number[];
}

const through = (...stops: [number, string, number?][]): ColourMap => {
  const channel = (at: number) => stops.map(([, hex]) => Number.parseInt(hex.slice(at, at + 2), 16));
  return {
    R: channel(0),
    G: channel(2),
    B: channel(4),
    A: stops.map(([, , alpha = 255]) => alpha),
    I: stops.map(([i]) => i),
  };
};

/** For sources and fused pictures. */
export const MAPS = {
  grey: through([0, "000000"], [255, "ffffff"]),
  inverted: through([0, "ffffff"], [255, "000000"]),
  hot: through([0, "000000"], [95, "e60000"], [180, "ffd200"], [255, "ffffff"]),
  inferno: through(
    [0, "000004"], [36, "280b54"], [73, "65156e"], [109, "9f2a63"],
    [146, "d44842"], [182, "f57d15"], [219, "fac127"], [255, "fcffa4"],
  ), // prettier-ignore
  viridis: through(
    [0, "440154"], [36, "46327e"], [73, "365c8d"], [109, "277f8e"],
    [146, "1fa187"], [182, "4ac16d"], [219, "a0da39"], [255, "fde725"],
  ), // prettier-ignore
  cool: through([0, "000000"], [110, "004f9e"], [190, "4fb8f0"], [255, "ffffff"]),
} as const;
export type MapName = keyof typeof MAPS;

/** For maps laid over the fused picture: clear where there is nothing to say. */
export const OVERLAYS = {
  spread: through([0, "000000", 0], [70, "7a1fa2", 190], [160, "e0409a", 230], [255, "ffd9ec", 255]),
  unsupported: through([0, "000000", 0], [126, "5a1e00", 60], [128, "d55e00", 225], [255, "ffd23c", 255]),
  share_a: through([0, "000000", 0], [128, "1f6fa8", 150], [255, "56b4e9", 255]),
  share_b: through([0, "000000", 0], [128, "9a6a00", 150], [255, "f0b429", 255]),
} as const;
export type Overlay = keyof typeof OVERLAYS;

/** 256 RGBA values. */
export function table(map: ColourMap): Uint8ClampedArray {
  const out = new Uint8ClampedArray(256 * 4);
  let k = 0;
  for (let i = 0; i < 256; i++) {
    while (k < map.I.length - 2 && i > map.I[k + 1]!) k++;
    const span = map.I[k + 1]! - map.I[k]!;
    const share = span ? (i - map.I[k]!) / span : 1;
    [map.R, map.G, map.B, map.A].forEach((channel, c) => {
      out[4 * i + c] = channel[k]! + share * (channel[k + 1]! - channel[k]!);
    });
  }
  return out;
}

/** The same as a CSS gradient, for legends. */
export const gradient = (map: ColourMap): string =>
  `linear-gradient(90deg, ${map.I.map(
    (i, k) => `rgb(${map.R[k]} ${map.G[k]} ${map.B[k]} / ${map.A[k]! / 255}) ${(i / 2.55).toFixed(1)}%`,
  ).join(", ")})`;
