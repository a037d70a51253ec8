import { useEffect, useRef, useState } from "preact/hooks";
import { number, t } from "../text";
import type { Voxels } from "./images";
import { valued, type Cover, type Layer } from "./layers";
import { planes } from "./looks";
import type { Place, VolumeView } from "./volume";

/** Where the cursor is in a volume, and what is there. */
export interface Said {
  at: string;
  text: string;
}

interface Props {
  layers: Layer[];
  title: string;
  heard: (layer: number, said: Said) => void;
}

/** Volumes one above the other, each in a canvas of NiiVue; all on the page are linked. */
export function VolumeStage({ layers, title, heard }: Props) {
  return (
    <div class="volumes">
      {layers.map((layer, k) => (
        <VolumeLayer key={layer.shown.key} layer={layer} title={title} heard={(said) => heard(k, said)} />
      ))}
    </div>
  );
}

function VolumeLayer({ layer, title, heard }: { layer: Layer; title: string; heard: (said: Said) => void }) {
  const { shown, look, opacity, from, covers } = layer;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [view, put] = useState<VolumeView | null>(null);
  const [problem, fail] = useState<string | null>(null);
  const tell = useRef(heard);
  tell.current = heard;
  const data = shown.data as Voxels;

  useEffect(() => {
    let live = true;
    let made: VolumeView | null = null;
    const hear = ({ vox, value }: Place) => {
      const at = vox.slice(0, 3).join(", ");
      const text = Array.isArray(value)
        ? ["R", "G", "B"].map((c, k) => `${c} ${number(value[k])}`).join(" ")
        : valued(shown, value);
      tell.current({ at, text });
    };
    import("./volume")
      .then(({ VolumeView }) => VolumeView.show(canvas.current!, data, shown.values, hear))
      .then(
        (opened) => {
          made = opened;
          if (live) put(opened);
          else opened.close();
        },
        () => live && fail(t("no_webgl")),
      );
    return () => {
      live = false;
      made?.close();
    };
  }, [data]);

  useEffect(() => view?.look(look.map, look.window ?? shown.values), [view, look]);
  useEffect(() => view?.planes(planes.value), [view, planes.value]);
  useEffect(() => view?.cover(covers as (Cover & { data: Voxels })[]), [view, covers]);

  return (
    <div
      class="volume"
      style={{ opacity, clipPath: from > 0 ? `inset(0 0 0 ${100 * from}%)` : undefined }}
      onKeyDownCapture={(event) => view && keys(event, view)}
      onKeyUpCapture={(event) => event.stopPropagation()}
      onWheelCapture={(event) => {
        if (!view) return;
        event.preventDefault();
        event.stopPropagation();
        const box = event.currentTarget.getBoundingClientRect();
        if (event.ctrlKey) view.zoom(Math.exp(-event.deltaY / 400));
        else view.wheel(event.deltaMode ? 50 * event.deltaY : event.deltaY, event.clientX - box.left, event.clientY - box.top);
      }}
    >
      <canvas ref={canvas} class="stage-canvas" role="application" aria-label={t("volume_label", { title })} tabIndex={0} />
      {problem && <p class="stage-note">{problem}</p>}
    </div>
  );
}

/** Our keys alone: NiiVue has others, which this page does not explain. */
function keys(event: KeyboardEvent, view: VolumeView): void {
  if (event.key === "Tab" || event.ctrlKey || event.metaKey || event.altKey) return;
  const plane = planes.value;
  const steps: Record<string, number> = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
  const by = steps[event.key];
  event.stopPropagation();
  if (by) view.step(by, plane);
  else if (event.key === "+" || event.key === "=") view.zoom(1.25);
  else if (event.key === "-") view.zoom(0.8);
  else if (event.key === "0") view.zoom(1e-9);
  else return;
  event.preventDefault();
}
