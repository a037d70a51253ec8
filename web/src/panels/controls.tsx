/** Small controls that several panels share. */

import { useId } from "preact/hooks";
import type { ComponentChildren } from "preact";

interface ChoiceProps<T extends string> {
  label: string;
  value: T;
  options: { value: T; text: string; off?: boolean }[];
  choose: (to: T) => void;
  off?: boolean;
}

/** One of a few, all seen at once: radio buttons that look like one switch. */
export function Choice<T extends string>({ label, value, options, choose, off }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset class="choice" disabled={off}>
      <legend class="hidden">{label}</legend>
      {options.map((option) => (
        <label key={option.value} data-value={option.value}>
          <input
            type="radio"
            name={name}
            value={option.value}
            checked={option.value === value}
            disabled={option.off}
            onChange={() => choose(option.value)}
          />
          <span>{option.text}</span>
        </label>
      ))}
    </fieldset>
  );
}

export function Field({ label, children }: { label: string; children: ComponentChildren }) {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
    </label>
  );
}

interface SelectProps<T extends string> {
  label: string;
  value: T;
  options: [T, string][];
  choose: (to: T) => void;
  off?: boolean;
  name?: string;
}

export function Select<T extends string>({ label, value, options, choose, off, name }: SelectProps<T>) {
  return (
    <Field label={label}>
      <select name={name} value={value} disabled={off} onChange={(event) => choose(event.currentTarget.value as T)}>
        {options.map(([one, text]) => (
          <option key={one} value={one} selected={one === value}>
            {text}
          </option>
        ))}
      </select>
    </Field>
  );
}
