/** Calls to the server: each fails with a `Problem`, whose text can be shown as it is. */

import { t } from "./text";
import type { Event, Info, Pair, Run, Series, Settings, Source } from "./types";

export class Problem extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const KEY = "haarmony.token";

/** Take the token out of the address bar, once; a reload finds it in this tab's storage. */
export function takeToken(): boolean {
  const address = new URL(location.href);
  const token = address.searchParams.get("token");
  if (token) {
    if (token !== sessionStorage.getItem(KEY)) sessionStorage.clear();
    sessionStorage.setItem(KEY, token);
    address.searchParams.delete("token");
    history.replaceState(null, "", address.pathname + address.search + address.hash);
  }
  return sessionStorage.getItem(KEY) !== null;
}

const headers = (): Record<string, string> => ({ "X-Haarmony-Token": sessionStorage.getItem(KEY) ?? "" });

async function send(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`/api/${path}`, { ...init, headers: { ...headers(), ...init.headers } });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(t("offline"), 0);
  }
  if (!response.ok) throw new Problem(said(await response.text(), response.status), response.status);
  return response;
}

function said(body: string, status: number): string {
  try {
    const error: unknown = JSON.parse(body).error;
    if (typeof error === "string") return error;
  } catch {
    // not JSON: the status has to do
  }
  return status === 403 ? t("refused") : t("unexpected", { status });
}

const json = async <T>(path: string, init?: RequestInit): Promise<T> => (await send(path, init)).json();
const post = <T>(path: string, body: unknown): Promise<T> =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const info = () => json<Info>("info");
export const phantom = (second: string, volume: boolean, seed: number) =>
  post<{ a: Source; b: Source }>("phantom", { second, volume, seed });
export const pair = (a: string, b: string) => post<Pair>("pair", { a, b });
export const start = (a: string, b: string, settings: Settings) => post<{ id: string }>("runs", { a, b, ...settings });
export const run = (id: string) => json<Run>(`runs/${id}`);
export const stop = (id: string) => post<Run>(`runs/${id}/stop`, {});
export const bytes = async (path: string): Promise<Blob> => (await send(path)).blob();

export interface Reading {
  series?: number | string;
  window?: string;
  range?: string;
}

export interface Item {
  file: File;
  path: string;
}

/** Send the files of one source; `progress` hears the part that has gone, 0 to 1. */
export function upload(
  items: Item[],
  reading: Reading,
  progress: (share: number) => void,
): Promise<Source | { series: Series[] }> {
  const form = new FormData();
  for (const { file, path } of items) form.append("files", file, path);
  for (const [name, value] of Object.entries(reading)) {
    if (value !== undefined && value !== "") form.append(name, String(value));
  }
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch tells nothing of an upload's progress
    request.open("POST", "/api/sources");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.total ? event.loaded / event.total : 0);
    request.onerror = () => reject(new Problem(t("offline"), 0));
    request.onload = () => {
      if (request.status >= 400) reject(new Problem(said(request.responseText, request.status), request.status));
      else resolve(JSON.parse(request.responseText));
    };
    request.send(form);
  });
}

/** The events of a run from number `after` + 1 on, as they happen. */
export async function* events(id: string, after: number, signal: AbortSignal): AsyncGenerator<Event> {
  const response = await send(`runs/${id}/events?after=${after}`, { signal });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) if (line.trim()) yield JSON.parse(line) as Event;
  }
}
