/** What the server says, as it says it. */

export interface Model {
  name: string;
  title: string;
  description: string;
  intended_use: string;
  limits: string;
  steps: number | null;
  most_steps: number | null;
  coloured: string | null;
}

export interface Info {
  version: string;
  models: Model[];
  register: boolean;
  largest_upload: number;
}

export interface Source {
  id: string;
  name: string;
  kind: "picture" | "volume";
  shape: number[];
  colour: boolean;
  depth: string;
  values: [number, number];
  spacing: number[] | null;
  unit: string | null;
  notes: string[];
}

export interface Series {
  number: number | string; // its UID where it has no number
  description: string;
  modality: string;
  slices: number;
}

export interface Misaligned {
  shift: number;
  unit: string;
  turn: number;
  nmi: number;
  nmi_there: number;
}

export interface Pair {
  fits: boolean;
  problem: string | null;
  misaligned: Misaligned | null;
  plane: string | null;
}

export interface Metric {
  symbol: string;
  name: string;
  value: number | null;
  higher_is_better: boolean;
  unit: string;
}

export interface Transform {
  shift: number;
  unit: string;
  turn: number;
  nmi_before: number;
  nmi_after: number;
}

export interface Settings {
  model: string;
  steps: number | null;
  seed: number;
  colour: "auto" | "first" | "second" | "grey";
  plane: "auto" | "axial" | "coronal" | "sagittal";
  register: "none" | "rigid" | "affine";
  explain: boolean;
  seeds: number;
}

export interface Run {
  id: string;
  state: "running" | "done" | "failed" | "stopped";
  a: string;
  b: string;
  settings: Settings;
  error: string | null;
  seconds: number | null;
  files: string[];
  notes: string[];
  warnings: string[];
  metrics: Metric[];
  explain: Record<string, unknown> | null;
  transform: Transform | null;
  fused?: { values: [number, number]; unit: string } | null;
}

export type Event =
  | { n: number; type: "step"; done: number; of: number; picture: string }
  | { n: number; type: "note"; text: string }
  | { n: number; type: "done"; run: Run }
  | { n: number; type: "failed"; error: string }
  | { n: number; type: "stopped" };
