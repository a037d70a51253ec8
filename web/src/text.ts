/** The page's language, and what the server says in it where the page knows the sentence. */

import { signal } from "@preact/signals";
import { en, type Words } from "./en";
import { zh } from "./zh";

export type Language = "en" | "zh";
const KEY = "haarmony.language";

export const stored = (key: string): string | null => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage may be switched off
  }
};

export const store = (key: string, value: string): void => {
  try {
    localStorage.setItem(key, value);
  } catch {
    // then the choice lasts as long as the page
  }
};

const auto = (): Language => (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
const chosen = stored(KEY);
export const language = signal<Language>(chosen === "en" || chosen === "zh" ? chosen : auto());

export function speak(to: Language): void {
  language.value = to;
  store(KEY, to);
}

type Line = Exclude<keyof Words, "keys">;

export const words = (): Words => (language.value === "zh" ? zh : en);

/** A line in the page's language; {name} in it becomes `values.name`. */
export function t(line: Line, values: Record<string, string | number> = {}): string {
  return words()[line].replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

/** A number as people read it: four significant digits, a true minus sign. */
export function number(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const shown = size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(digits - 2) : short(value, digits);
  return shown.replace("-", "−");
}

function short(value: number, digits: number): string {
  if (value !== 0 && Math.abs(value) < 1) return String(Number(value.toPrecision(digits - 1)));
  const whole = Math.floor(Math.log10(Math.max(1, Math.abs(value)))) + 1;
  return String(Number(value.toFixed(Math.max(0, digits - whole))));
}

export function size(bytes: number): string {
  const units = ["B", "KB", "MB", "GB"];
  let k = 0;
  for (; bytes >= 1024 && k < units.length - 1; k++) bytes /= 1024;
  return `${bytes >= 10 || k === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[k]}`;
}
