import { gradient, MAPS, OVERLAYS, type MapName, type Overlay } from "../colourmap";
import { current, run } from "../state";
import { number, t } from "../text";
import { looks, overlays, PLAIN, type Part } from "../view/looks";
import { mapsOf, mostOf, useFused, useSource } from "../view/shown";
import type { Shown } from "../view/images";
import { Select } from "./controls";

/** Colour map, window and level of each picture, and the explain maps over the fused one. */
export function Display() {
  const a = useSource("a").shown;
  const b = useSource("b").shown;
  const f = useFused().shown;
  return (
    <section class="card" aria-labelledby="display">
      <h2 id="display">{t("display")}</h2>
      <div class="display">
        <LookOf part="a" title={t("source_a")} shown={a} />
        <LookOf part="b" title={t("source_b")} shown={b} />
        <LookOf part="f" title={t("fused")} shown={f} />
      </div>
    </section>
  );
}

const NAMES: [MapName, Parameters<typeof t>[0]][] = [
  ["grey", "map_grey"],
  ["inverted", "map_inverted"],
  ["hot", "map_hot"],
  ["inferno", "map_inferno"],
  ["viridis", "map_viridis"],
  ["cool", "map_cool"],
];

function LookOf({ part, title, shown }: { part: Part; title: string; shown: Shown | null }) {
  const look = looks[part].value;
  const [least, most] = shown?.values ?? [0, 255];
  const [lo, hi] = look.window ?? [least, most];
  const [low, high] = [Math.min(least, most), Math.max(least, most)];
  const full = high - low || 1;
  const half = most < least ? -0.5 : 0.5; // white may be the lesser value
  const put = (level: number, width: number) =>
    (looks[part].value = { ...look, window: [level - half * width, level + half * width] });
  const level = (lo + hi) / 2;
  const width = Math.abs(hi - lo);
  const off = !shown;
  return (
    <fieldset class={`look look-${part}`} data-look={part} disabled={off}>
      <legend>
        <span class="dot" aria-hidden="true" />
        {title}
      </legend>
      {shown?.colour ? (
        <div class="field">
          <span>{t("map")}</span>
          <p class="own">{t("own_colour")}</p>
        </div>
      ) : (
        <Select
          label={t("map")}
          value={look.map}
          options={NAMES.map(([name, line]) => [name, t(line)])}
          choose={(map) => (looks[part].value = { ...look, map })}
        />
      )}
      <span class="ramp" aria-hidden="true" style={{ background: shown?.colour ? undefined : gradient(MAPS[look.map]) }} />
      <Slider label={t("level")} name="level" value={level} least={low} most={high} unit={shown?.unit} put={(to) => put(to, width)} />
      <Slider label={t("width")} name="width" value={width} least={full / 255} most={full} unit={shown?.unit} put={(to) => put(level, to)} />
      <button type="button" class="quiet" disabled={off || (!look.window && look.map === "grey")} onClick={() => (looks[part].value = PLAIN)}>
        {t("reset")}
      </button>
    </fieldset>
  );
}

interface SliderProps {
  label: string;
  name: string;
  value: number;
  least: number;
  most: number;
  unit?: string;
  put: (to: number) => void;
}

function Slider({ label, name, value, least, most, unit, put }: SliderProps) {
  return (
    <label class="slider">
      <span>{label}</span>
      <input
        type="range"
        data-slider={name}
        min={least}
        max={most}
        step={(most - least) / 500 || 1}
        value={value}
        aria-valuetext={`${number(value)} ${unit ?? ""}`}
        onInput={(event) => put(event.currentTarget.valueAsNumber)}
      />
      <output>{number(value, 3)}</output>
    </label>
  );
}

const LINES: Record<Overlay, [Parameters<typeof t>[0], Parameters<typeof t>[0]]> = {
  unsupported: ["unsupported", "unsupported_text"],
  spread: ["spread", "spread_text"],
  share_a: ["share_a", "share_a_text"],
  share_b: ["share_b", "share_b_text"],
};

/** Switches of the explain maps, each with its legend and opacity; they have their place before there are any. */
export function Overlays() {
  const made = run.value?.state === "done" && current.value ? run.value : null;
  const maps = mapsOf(made);
  return (
    <section class="card" aria-labelledby="overlays">
      <header class="card-head">
        <h2 id="overlays">{t("overlays")}</h2>
        {maps.length === 0 && <p class="hint">{t(made ? "overlays_none" : "overlays_later")}</p>}
      </header>
      <div class="overlays">
        {(Object.keys(LINES) as Overlay[]).map((name) => {
          const off = !maps.includes(name);
          const on = off ? undefined : overlays.value[name];
          const most = mostOf(made, name);
          const change = (opacity: number | undefined) => {
            const { [name]: _, ...rest } = overlays.value;
            overlays.value = opacity === undefined ? rest : { ...rest, [name]: opacity };
          };
          return (
            <div key={name} class="overlay" data-overlay={name}>
              <label class="check">
                <input type="checkbox" role="switch" checked={on !== undefined} disabled={off} onChange={(event) => change(event.currentTarget.checked ? 0.8 : undefined)} />
                <span>
                  {t(LINES[name][0])}
                  <small>{t(LINES[name][1])}</small>
                </span>
              </label>
              <div class="legend" aria-hidden="true">
                <span>0</span>
                <i style={{ background: gradient(OVERLAYS[name]) }} />
                <span>{number(most, 3)}</span>
              </div>
              <label class="slider">
                <span>{t("opacity")}</span>
                <input
                  type="range"
                  min="0"
                  max="1"
                  step="0.05"
                  disabled={on === undefined}
                  value={on ?? 0.8}
                  onInput={(event) => change(event.currentTarget.valueAsNumber)}
                />
                <output>{Math.round(100 * (on ?? 0.8))} %</output>
              </label>
            </div>
          );
        })}
      </div>
    </section>
  );
}
