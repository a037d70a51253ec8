/** What the page knows, and what a person can do; a tab keeps it over a reload, in its own storage. */

import { batch, computed, effect, signal } from "@preact/signals";
import * as api from "./api";
import { Problem, type Item, type Reading } from "./api";
import type { Dropped } from "./drop";
import { size, t } from "./text";
import type { Info, Pair, Run, Series, Settings, Source } from "./types";

export type Side = "a" | "b";

export interface Slot {
  source: Source | null;
  items: Item[] | null; // as dropped, to read them again in another way
  reading: Reading;
  sent: number | null; // 0 to 1 while it is on its way
  series: Series[] | null;
  problem: string | null;
}

export interface Progress {
  n: number;
  done: number;
  of: number;
  picture: string | null;
  began: number; // milliseconds, of the first step seen
  at: number; // of the last
}

const EMPTY: Slot = { source: null, items: null, reading: {}, sent: null, series: null, problem: null };
const KEY = "haarmony.tab";

export const info = signal<Info | null>(null);
export const slots = { a: signal<Slot>(EMPTY), b: signal<Slot>(EMPTY) };
export const pair = signal<Pair | "checking" | null>(null);
export const run = signal<Run | null>(null);
export const progress = signal<Progress | null>(null);
export const message = signal<{ text: string; bad: boolean } | null>(null);
export const settings = signal<Settings>({
  model: "",
  steps: null,
  seed: 42,
  colour: "auto",
  plane: "auto",
  register: "none",
  explain: true,
  seeds: 8,
});

export const volumes = computed(() => slots.a.value.source?.kind === "volume" || slots.b.value.source?.kind === "volume");
export const running = computed(() => run.value?.state === "running");
export const ready = computed(() => {
  const fit = pair.value;
  return fit !== null && fit !== "checking" && fit.fits && !running.value && settings.value.model !== "";
});
/** Whether a finished run is of the two sources that are shown. */
export const current = computed(() => {
  const made = run.value;
  return made !== null && made.a === slots.a.value.source?.id && made.b === slots.b.value.source?.id;
});
export const stale = computed(() => {
  const made = run.value;
  if (!made || made.state !== "done") return false;
  return !current.value || (Object.keys(settings.value) as (keyof Settings)[]).some((key) => settings.value[key] !== made.settings[key]);
});

export const set = (change: Partial<Settings>) => (settings.value = { ...settings.value, ...change });
const put = (side: Side, change: Partial<Slot>) => (slots[side].value = { ...slots[side].value, ...change });

export function say(problem: unknown): void {
  message.value = { text: problem instanceof Error ? problem.message : String(problem), bad: true };
}

// ── sources ──

const asked = { a: 0, b: 0, pair: 0, run: 0 }; // the latest request of each kind: answers to others are dropped

export async function drop(found: Dropped[], side?: Side): Promise<void> {
  if (found.length > 2) return say(t("two_at_most"));
  if (running.value) return say(t("busy"));
  const sides: Side[] = found.length === 2 ? ["a", "b"] : [side ?? (slots.a.value.source && !slots.b.value.source ? "b" : "a")];
  await Promise.all(sides.map((one, k) => read(one, found[k] ?? [])));
}

export async function read(side: Side, items: Item[], reading: Reading = {}): Promise<void> {
  const mine = ++asked[side];
  const total = items.reduce((sum, item) => sum + item.file.size, 0);
  const most = info.value?.largest_upload ?? Infinity;
  const name = items[0]?.path.split("/")[0] ?? "";
  if (!items.length) return void put(side, { problem: t("no_files") });
  if (total > most) return void put(side, { problem: t("too_large", { name, size: size(total), most: size(most) }) });
  const before = slots[side].value;
  put(side, { items, reading, sent: 0, series: null, problem: null });
  try {
    const answer = await api.upload(items, reading, (sent) => asked[side] === mine && put(side, { sent }));
    if (asked[side] !== mine) return;
    if ("series" in answer) put(side, { sent: null, series: answer.series });
    else batch(() => take(side, answer));
  } catch (error) {
    if (asked[side] !== mine) return;
    // What was there stays, with what it was read from.
    put(side, { ...before, sent: null, problem: (error as Error).message });
  }
}

function take(side: Side, source: Source): void {
  // Explaining takes a volume ten times as long as fusing it: that has to be asked for.
  if (source.kind === "volume" && !volumes.value) set({ explain: false });
  put(side, { source, sent: null, series: null, problem: null });
  void compare();
}

export async function phantom(second: string, volume: boolean): Promise<void> {
  const mine = (asked.a++, ++asked.b);
  for (const side of ["a", "b"] as const) put(side, { ...EMPTY, sent: 1 });
  try {
    const { a, b } = await api.phantom(second, volume, 0);
    if (asked.b !== mine) return;
    batch(() => {
      take("a", a);
      take("b", b);
    });
  } catch (error) {
    for (const side of ["a", "b"] as const) put(side, EMPTY);
    say(error);
  }
}

export function remove(side: Side): void {
  asked[side]++;
  batch(() => {
    slots[side].value = EMPTY;
    pair.value = null;
  });
}

export function swap(): void {
  batch(() => {
    const { a, b } = slots;
    [a.value, b.value] = [b.value, a.value];
    void compare();
  });
}

async function compare(): Promise<void> {
  const mine = ++asked.pair;
  const a = slots.a.value.source;
  const b = slots.b.value.source;
  pair.value = null;
  if (!a || !b) return;
  pair.value = "checking";
  try {
    const found = await api.pair(a.id, b.id);
    if (asked.pair === mine) pair.value = found;
  } catch (error) {
    if (asked.pair !== mine) return;
    pair.value = null;
    if (error instanceof Problem && error.status === 404) for (const side of ["a", "b"] as const) await still(side);
    else say(error);
  }
}

/** Forget a source that the server has let go. */
async function still(side: Side): Promise<void> {
  const source = slots[side].value.source;
  if (!source) return;
  try {
    await api.bytes(`sources/${source.id}/${source.kind === "picture" ? "picture.png" : "volume.nii.gz"}`);
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404)) return;
    put(side, { source: null });
    if (slots[side].value.items) await read(side, slots[side].value.items!, slots[side].value.reading);
    else slots[side].value = { ...EMPTY, problem: t("gone") };
  }
}

// ── runs ──

export async function fuse(): Promise<void> {
  const a = slots.a.value.source;
  const b = slots.b.value.source;
  if (!a || !b || !ready.value) return;
  const chosen = { ...settings.value };
  if (a.kind !== "volume") chosen.plane = "auto";
  try {
    const { id } = await api.start(a.id, b.id, chosen);
    batch(() => {
      run.value = {
        id, state: "running", a: a.id, b: b.id, settings: chosen, error: null, seconds: null,
        files: [], notes: [], warnings: [], metrics: [], explain: null, transform: null,
      }; // prettier-ignore
      progress.value = null;
    });
    void follow(id, 0);
  } catch (error) {
    say(error);
  }
}

export async function stop(): Promise<void> {
  try {
    if (run.value) await api.stop(run.value.id);
  } catch (error) {
    say(error);
  }
}

/** Hear a run's events to its end; where the line breaks, go on from the last one heard. */
async function follow(id: string, after: number): Promise<void> {
  const mine = ++asked.run;
  for (let tries = 0; asked.run === mine && run.value?.state === "running"; tries++) {
    try {
      for await (const event of api.events(id, after, new AbortController().signal)) {
        if (asked.run !== mine) return;
        after = event.n;
        tries = 0;
        hear(event, id);
      }
      if (run.value?.state === "running") run.value = await api.run(id);
    } catch (error) {
      const lost = error instanceof Problem && (error.status !== 0 || tries > 4);
      if (lost) {
        batch(() => {
          run.value = null;
          progress.value = null;
        });
        return say(error.status === 404 ? t("run_gone") : error);
      }
      await new Promise((done) => setTimeout(done, 500 * (tries + 1)));
    }
  }
}

function hear(event: import("./types").Event, id: string): void {
  const made = run.value;
  if (!made || made.id !== id) return;
  const now = Date.now();
  switch (event.type) {
    case "step": {
      const before = progress.value;
      const { n, done, of, picture } = event;
      progress.value = { n, done, of, picture, began: before?.began ?? now, at: now };
      break;
    }
    case "note":
      run.value = { ...made, notes: [...made.notes, event.text] };
      break;
    case "done":
      run.value = event.run;
      break;
    case "failed":
      run.value = { ...made, state: "failed", error: event.error };
      break;
    case "stopped":
      run.value = { ...made, state: "stopped" };
      break;
  }
}

// ── over a reload ──

interface Kept {
  a: Source | null;
  b: Source | null;
  settings: Settings;
  run: string | null;
  n: number;
}

export async function begin(): Promise<void> {
  const kept = recall();
  try {
    info.value = await api.info();
  } catch (error) {
    say(error);
    return;
  }
  const models = info.value.models;
  batch(() => {
    if (kept) {
      settings.value = kept.settings;
      if (kept.a) put("a", { source: kept.a });
      if (kept.b) put("b", { source: kept.b });
    }
    if (!models.some((model) => model.name === settings.value.model)) {
      set({ model: (models.find((model) => model.name === "medical") ?? models[0])?.name ?? "" });
    }
  });
  if (kept?.run) await resume(kept.run, kept.n);
  if (kept?.a && kept.b) void compare();
  else for (const side of ["a", "b"] as const) void still(side);
  effect(remember);
}

async function resume(id: string, n: number): Promise<void> {
  try {
    run.value = await api.run(id);
    // The last event comes once more: its picture was not kept.
    if (run.value.state === "running") void follow(id, Math.max(0, n - 1));
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404)) say(error);
  }
}

function remember(): void {
  const kept: Kept = {
    a: slots.a.value.source,
    b: slots.b.value.source,
    settings: settings.value,
    run: run.value?.id ?? null,
    n: progress.value?.n ?? 0,
  };
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
  } catch {
    // then a reload starts afresh
  }
}

function recall(): Kept | null {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}
