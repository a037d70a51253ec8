import { useEffect, useMemo, useState } from "preact/hooks";
import { run } from "../state";
import { t } from "../text";
import { Choice } from "../panels/controls";
import { cursor, FIT, blend, divider, looks, lower, mode, PLAIN, planes, upper, view, zoomBy, type Mode, type Part, type Planes } from "./looks";
import { valueAt, type Cover, type Layer } from "./layers";
import { PictureStage } from "./PictureStage";
import { useAligned, useCovers, useFused, useSource } from "./shown";
import type { Shown } from "./images";
import { VolumeStage, type Said } from "./VolumeStage";

const NONE: Cover[] = [];

/** Sources and fused picture: side by side, or two of them one over the other. */
export function Viewer() {
  const a = useSource("a");
  const b = useSource("b");
  const f = useFused();
  const there = useAligned();
  const covers = useCovers();
  const title: Record<Part, string> = { a: t("source_a"), b: t("source_b"), f: t("fused") };
  const parts = { a: a.shown, b: b.shown, f: f.shown };
  const volume = [a, b].some(({ shown }) => shown?.data.kind === "volume");
  // What cannot be shown together is shown apart: a volume with the sampler's picture, a pair that has no aligned one.
  const under = parts[lower.value];
  const over = parts[upper.value];
  const pair = under && over && under.data.kind === over.data.kind;
  const now: Mode = mode.value === "align" ? (there && parts.a ? "align" : "side") : mode.value === "side" || pair ? mode.value : "side";

  const layer = (shown: Shown, opacity = 1, from = 0): Layer => ({
    shown,
    look: looks[shown.role === "there" ? "b" : shown.role === "step" ? "f" : shown.role].value,
    opacity,
    from,
    covers: shown.role === "f" ? covers : NONE,
  });
  const laid = (one: Shown, two: Shown) => [layer(one), layer(two, blend.value)];

  return (
    <section class="viewer" aria-label={t("view")}>
      <Toolbar now={now} volume={volume} aligned={there !== null} several={Object.values(parts).filter(Boolean).length > 1} />
      <div class={`stages stages-${now}`} data-mode={now}>
        {now === "side" &&
          (["a", "b", "f"] as const).map((part) => (
            <Pane key={part} part={part} title={title[part]} layers={parts[part] ? [layer(parts[part]!)] : []} note={noteOf(part, { a, b, f }[part].problem)} />
          ))}
        {(now === "swipe" || now === "blend") && under && over && (
          <Pane
            key="pair"
            part={upper.value}
            title={`${title[lower.value]} · ${title[upper.value]}`}
            layers={now === "swipe" ? [layer(under), layer(over, 1, divider.value)] : laid(under, over)}
            divided={now === "swipe"}
          />
        )}
        {now === "align" && parts.a && parts.b && there && (
          <>
            <Pane key="before" part="b" title={t("before")} layers={laid(parts.a, parts.b)} />
            <Pane key="after" part="b" title={t("after")} layers={laid(parts.a, there)} />
          </>
        )}
      </div>
    </section>
  );
}

function noteOf(part: Part, problem: string | null): string {
  if (problem) return problem;
  if (part !== "f") return t("loading");
  return run.value?.state === "running" ? t("progress_wait") : run.value?.state === "done" && run.value ? t("loading") : t("fused_empty");
}

function Toolbar({ now, volume, aligned, several }: { now: Mode; volume: boolean; aligned: boolean; several: boolean }) {
  const modes: [Mode, string][] = [
    ["side", t("mode_side")],
    ["swipe", t("mode_swipe")],
    ["blend", t("mode_blend")],
    ["align", t("mode_align")],
  ];
  const parts: [Part, string][] = [
    ["a", t("source_a")],
    ["b", t("source_b")],
    ["f", t("fused")],
  ];
  const zoom = (factor: number) => {
    if (volume) void import("./volume").then(({ zoomAll }) => zoomAll(factor || 1e-9));
    if (factor) zoomBy(factor);
    else view.value = FIT;
  };
  return (
    <div class="toolbar">
      <Choice
        label={t("mode")}
        value={now}
        options={modes.map(([value, text]) => ({ value, text, off: value === "align" ? !aligned : value !== "side" && !several }))}
        choose={(to) => choose(to)}
      />
      {volume && (
        <Choice
          label={t("planes")}
          value={planes.value}
          options={(["axial", "coronal", "sagittal", "all"] as Planes[]).map((value) => ({
            value,
            text: value === "all" ? t("all_planes") : t(value),
          }))}
          choose={(to) => (planes.value = to)}
        />
      )}
      <div class="group" role="group" aria-label={t("zoom_in")}>
        <button type="button" class="icon" aria-label={t("zoom_out")} title={t("zoom_out")} onClick={() => zoom(0.8)}>
          −
        </button>
        <button type="button" class="icon" aria-label={t("zoom_in")} title={t("zoom_in")} onClick={() => zoom(1.25)}>
          +
        </button>
        <button type="button" onClick={() => zoom(0)}>
          {t("fit_view")}
        </button>
      </div>
      <div class="compare">
        {(now === "swipe" || now === "blend") && (
          <>
            <label>
              <span>{now === "swipe" ? t("left") : t("lower")}</span>
              <select value={lower.value} onChange={(event) => (lower.value = event.currentTarget.value as Part)}>
                {parts.map(([value, text]) => (
                  <option value={value}>{text}</option>
                ))}
              </select>
            </label>
            <label>
              <span>{now === "swipe" ? t("right") : t("upper")}</span>
              <select value={upper.value} onChange={(event) => (upper.value = event.currentTarget.value as Part)}>
                {parts.map(([value, text]) => (
                  <option value={value}>{text}</option>
                ))}
              </select>
            </label>
          </>
        )}
        {now !== "side" && (
          <label class="grow">
            <span>{now === "swipe" ? t("swipe_at") : t("blend_at")}</span>
            <input
              type="range"
              min="0"
              max="1"
              step="0.01"
              data-slider={now === "swipe" ? "swipe" : "blend"}
              value={now === "swipe" ? divider.value : blend.value}
              onInput={(event) => ((now === "swipe" ? divider : blend).value = event.currentTarget.valueAsNumber)}
            />
          </label>
        )}
      </div>
    </div>
  );
}

function choose(to: Mode): void {
  mode.value = to;
  // Two of the three that are there: the fused picture over the first source, else the second.
  if (to === "swipe" || to === "blend") {
    const made = run.value?.state === "done";
    if (!made && upper.value === "f") upper.value = "b";
    if (lower.value === upper.value) lower.value = upper.value === "a" ? "b" : "a";
  }
}

interface PaneProps {
  part: Part;
  title: string;
  layers: Layer[];
  note?: string;
  divided?: boolean;
}

function Pane({ part, title, layers, note, divided }: PaneProps) {
  const [said, put] = useState<Said[]>([]);
  const heard = useMemo(() => (k: number, one: Said) => put((old) => Object.assign([...old], { [k]: one })), []);
  const volume = layers[0]?.shown.data.kind === "volume";
  return (
    <figure class={`pane pane-${part}`} data-pane={part}>
      <figcaption>
        <span class="dot" aria-hidden="true" />
        <span class="pane-title">{title}</span>
      </figcaption>
      <div class="stage">
        {layers.length === 0 ? (
          <p class="stage-note">{note}</p>
        ) : volume ? (
          <VolumeStage layers={layers} title={title} heard={heard} />
        ) : (
          <PictureStage layers={layers} title={title} />
        )}
        {divided && <Divider />}
      </div>
      <output class="readout">{layers.length === 0 ? "" : volume ? spoken(said.slice(0, layers.length)) || t("no_value_volume") : <Readout layers={layers} />}</output>
    </figure>
  );
}

const spoken = (said: Said[]): string => (said[0] ? [said[0].at, said.map(({ text }) => text).join(" | ")].join(" · ") : "");

/** Apart from the pane, so that a moving cursor renders this line alone. */
function Readout({ layers }: { layers: Layer[] }) {
  const at = cursor.value;
  const first = layers[0]?.shown.data;
  if (!at || first?.kind !== "picture") return <>{t("no_value")}</>;
  const place = `${Math.floor(at.x * first.width)}, ${Math.floor(at.y * first.height)}`;
  return <>{[place, layers.map(({ shown }) => valueAt(shown, at.x, at.y)).join(" | ")].join(" · ")}</>;
}

/** The line of the swipe, to be dragged; the slider in the toolbar does the same by key. */
function Divider() {
  useEffect(() => () => void (cursor.value = null), []);
  const move = (event: PointerEvent) => {
    const handle = event.currentTarget as HTMLElement;
    if (!handle.hasPointerCapture(event.pointerId)) return;
    const box = handle.parentElement!.getBoundingClientRect();
    divider.value = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  };
  return (
    <div
      class="divider"
      style={{ left: `${100 * divider.value}%` }}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={move}
      aria-hidden="true"
    />
  );
}

/** Forget windows, maps and place when a source changes. */
export function useFreshLooks(part: Part, key: string | undefined): void {
  useEffect(() => {
    looks[part].value = { ...PLAIN, map: looks[part].value.map };
    view.value = FIT;
    cursor.value = null;
  }, [key]);
}
