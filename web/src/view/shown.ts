/** Out of the sources and the run: what can be shown, with what its values mean. */

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Overlay } from "../colourmap";
import { current, pair, progress, run, slots } from "../state";
import type { Run, Source } from "../types";
import { pixels, useData, type Data, type Pixels, type Role, type Shown } from "./images";
import type { Cover } from "./layers";
import { overlays } from "./looks";

const fileOf = ({ files }: Run, stem: string) => files.find((name) => name === `${stem}.png` || name === `${stem}.nii.gz`);

/** Maps that a run has, in the order in which they are offered. */
export const mapsOf = (made: Run | null): Overlay[] =>
  made ? (["unsupported", "spread", "share_a", "share_b"] as const).filter((name) => fileOf(made, name)) : [];

function useShown(key: string, role: Role, data: Data | null, of: Source | Pick<Source, "values" | "unit" | "depth">): Shown | null {
  return useMemo(() => {
    if (!data) return null;
    return {
      key,
      role,
      data,
      colour: data.colour,
      values: of.values,
      unit: of.unit ?? "",
      exact: data.kind === "volume" || of.depth === "8 bit",
    };
  }, [data, key, of]);
}

export function useSource(side: "a" | "b"): { shown: Shown | null; problem: string | null } {
  const { source } = slots[side].value;
  const other = slots.a.value.source?.id;
  const volume = source?.kind === "volume";
  // A second volume is seen on the first one's grid, once it is known whether there is one.
  const fits = pair.value !== "checking" && pair.value?.fits;
  const key = !source || (side === "b" && volume && pair.value === "checking") ? null : `${source.id} ${side === "b" && volume && fits ? other : ""}`;
  const { data, problem } = useData(key, source ? `sources/${source.id}/${volume ? "volume.nii.gz" : "picture.png"}` : "");
  return { shown: useShown(key ?? "", side, data, source ?? NOTHING), problem };
}

const NOTHING: Pick<Source, "values" | "unit" | "depth"> = { values: [0, 255], unit: "", depth: "8 bit" };

/** The fused picture or volume of the run that is shown, or the sampler's latest. */
export function useFused(): { shown: Shown | null; problem: string | null; step: boolean } {
  const made = run.value;
  const done = made?.state === "done" && current.value ? made : null;
  const name = done && (fileOf(done, "fused_preview") ?? fileOf(done, "fused"));
  const path = done && (done.files.includes("fused.nii.gz") ? "fused.nii.gz" : name);
  const { data, problem } = useData(path ? `${done.id} ${path}` : null, path ? `runs/${done.id}/files/${path}` : "");
  const values = done ? fusedValues(done) : NOTHING;
  const fused = useShown(`${made?.id} fused`, "f", data, values);
  const step = useStep();
  const running = made?.state === "running" && current.value;
  return running ? { shown: step, problem: null, step: true } : { shown: fused, problem, step: false };
}

const known = new WeakMap<Run, typeof NOTHING>();

/** What black and white of the fused picture stand for, where the server says it. */
function fusedValues(made: Run): typeof NOTHING {
  let found = known.get(made);
  if (!found) {
    const values = made.fused?.values ?? made.explain?.values;
    const range = Array.isArray(values) && values.length === 2 ? (values as [number, number]) : null;
    const first = slots.a.value.source;
    const deep = first?.kind === "volume" || first?.depth !== "8 bit";
    found = { values: range ?? (deep && first ? first.values : [0, 255]), unit: made.fused?.unit ?? "", depth: deep ? "float" : "8 bit" };
    known.set(made, found);
  }
  return found;
}

function useStep(): Shown | null {
  const picture = progress.value?.picture ?? null;
  const [data, put] = useState<Pixels | null>(null);
  useEffect(() => {
    let live = true;
    if (!picture) put(null);
    else void fetch(picture).then(async (answer) => {
      const decoded = await pixels(await answer.blob());
      if (live) put(decoded);
    });
    return () => {
      live = false;
    };
  }, [picture]);
  return useShown("step", "step", data, NOTHING);
}

/** The second source as it was aligned for the run that is shown. */
export function useAligned(): Shown | null {
  const made = run.value?.state === "done" && current.value ? run.value : null;
  const name = made && fileOf(made, "aligned_b");
  const { data } = useData(name ? `${made.id} ${name}` : null, name ? `runs/${made.id}/files/${name}` : "");
  return useShown(`${made?.id} there`, "there", data, slots.b.value.source ?? NOTHING);
}

/** The explain maps that are on, as covers of the fused picture. */
export function useCovers(): Cover[] {
  const made = run.value?.state === "done" && current.value ? run.value : null;
  const covers: Cover[] = [];
  for (const name of ["unsupported", "spread", "share_a", "share_b"] as const) {
    const opacity = overlays.value[name];
    const file = made && opacity !== undefined ? fileOf(made, name) : undefined;
    const { data } = useData(file ? `${made!.id} ${file}` : null, file ? `runs/${made!.id}/files/${file}` : "");
    if (file && data) covers.push({ name, data, opacity: opacity!, most: mostOf(made, name), white: whiteOf(made, name) });
  }
  return covers;
}

/** The value that the last colour of a map stands for; of unsupported structure 2, so that 1 is in the middle. */
export const mostOf = (made: Run | null, name: Overlay): number => (name === "unsupported" ? 2 : whiteOf(made, name));

function whiteOf(made: Run | null, name: Overlay): number {
  const scale = (made?.explain?.scales as Record<string, unknown> | undefined)?.[name];
  if (typeof scale === "number") return scale;
  return name === "unsupported" ? 2 : name === "spread" ? 0.1 : 1;
}
