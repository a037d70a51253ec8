import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../text";
import type { Pixels } from "./images";
import { levels, type Layer } from "./layers";
import { cursor, FIT, looks, panBy, view, zoomBy, type Part } from "./looks";
import { raster } from "./raster";

interface Props {
  layers: Layer[];
  title: string;
}

/** How the lowest picture lies on a stage: its left, top and size, in CSS pixels. */
function placed(stage: { width: number; height: number }, { width, height }: Pixels) {
  const { zoom, x, y } = view.value;
  const scale = zoom * Math.min(stage.width / width, stage.height / height);
  return {
    left: stage.width / 2 - x * width * scale,
    top: stage.height / 2 - y * height * scale,
    wide: width * scale,
    high: height * scale,
    scale,
  };
}

/** A canvas of our own for 2-D pictures: linked zoom, pan and cursor, window by the right button. */
export function PictureStage({ layers, title }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const now = useRef(layers);
  now.current = layers;
  const redraw = useRef(() => {});

  useEffect(() => {
    const element = canvas.current!;
    let asked = 0;
    redraw.current = () => {
      asked ||= requestAnimationFrame(() => {
        asked = 0;
        paint(element, now.current);
      });
    };
    const watch = new ResizeObserver(() => paint(element, now.current));
    watch.observe(element);
    const linked = effect(() => {
      view.value;
      cursor.value;
      redraw.current();
    });
    // Preact's own would be passive, and the page would scroll.
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const at = point(element, now.current, event);
      if (at) zoomBy(Math.exp(-event.deltaY / 400), at.x, at.y);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => {
      watch.disconnect();
      linked();
      cancelAnimationFrame(asked);
      element.removeEventListener("wheel", wheel);
    };
  }, []);
  useEffect(() => redraw.current());

  return (
    <canvas
      ref={canvas}
      class="stage-canvas"
      tabIndex={0}
      role="application"
      aria-label={t("picture_label", { title })}
      onPointerDown={(event) => grab(canvas.current!, now, event)}
      onPointerMove={(event) => (cursor.value = inside(point(canvas.current!, now.current, event)))}
      onPointerLeave={() => (cursor.value = null)}
      onContextMenu={(event) => event.preventDefault()}
      onDblClick={() => (view.value = FIT)}
      onKeyDown={(event) => keys(event, now.current)}
    />
  );
}

const inside = (at: { x: number; y: number } | null) =>
  at && at.x >= 0 && at.x < 1 && at.y >= 0 && at.y < 1 ? at : null;

function point(element: HTMLElement, layers: Layer[], event: MouseEvent) {
  const first = layers[0]?.shown.data as Pixels | undefined;
  if (!first) return null;
  const box = element.getBoundingClientRect();
  const at = placed(box, first);
  return { x: (event.clientX - box.left - at.left) / at.wide, y: (event.clientY - box.top - at.top) / at.high };
}

const touches = new Map<number, { x: number; y: number }>();

/** Move by the left button or a finger, zoom by two, set window and level by the right button. */
function grab(element: HTMLCanvasElement, now: { current: Layer[] }, start: PointerEvent): void {
  if (start.button > 2) return;
  element.setPointerCapture(start.pointerId);
  touches.set(start.pointerId, { x: start.clientX, y: start.clientY });
  const windowing = start.button === 2;
  const move = (event: PointerEvent) => {
    const last = touches.get(event.pointerId);
    const first = now.current[0]?.shown.data as Pixels | undefined;
    if (!last || !first) return;
    const dx = event.clientX - last.x;
    const dy = event.clientY - last.y;
    const other = [...touches].find(([id]) => id !== event.pointerId)?.[1];
    touches.set(event.pointerId, { x: event.clientX, y: event.clientY });
    const { wide, high } = placed(element.getBoundingClientRect(), first);
    if (windowing) windowBy(now.current.at(-1)!, dx, dy);
    else if (other) {
      const apart = (x: number, y: number) => Math.hypot(x - other.x, y - other.y);
      zoomBy(apart(event.clientX, event.clientY) / Math.max(1, apart(last.x, last.y)));
    } else panBy(-dx / wide, -dy / high);
  };
  const end = (event: PointerEvent) => {
    touches.delete(event.pointerId);
    element.removeEventListener("pointermove", move);
    element.removeEventListener("pointerup", end);
    element.removeEventListener("pointercancel", end);
  };
  element.addEventListener("pointermove", move);
  element.addEventListener("pointerup", end);
  element.addEventListener("pointercancel", end);
}

/** Right: a wider window; up: a higher level, as reading rooms have it. */
function windowBy({ shown, look }: Layer, dx: number, dy: number): void {
  const part: Part = shown.role === "there" ? "b" : shown.role === "step" ? "f" : shown.role;
  const [lo, hi] = look.window ?? shown.values;
  const unit = (shown.values[1] - shown.values[0]) / 300;
  const level = (lo + hi) / 2 - dy * unit;
  const width = Math.sign(unit || 1) * Math.max(Math.abs(unit), Math.abs(hi - lo + dx * unit));
  looks[part].value = { ...look, window: [level - width / 2, level + width / 2] };
}

function keys(event: KeyboardEvent, layers: Layer[]): void {
  const first = layers[0]?.shown.data as Pixels | undefined;
  if (!first || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = event.shiftKey ? 10 : 1;
  const moves: Record<string, [number, number]> = {
    ArrowLeft: [-step, 0],
    ArrowRight: [step, 0],
    ArrowUp: [0, -step],
    ArrowDown: [0, step],
  };
  const by = moves[event.key];
  if (by) {
    const { width, height } = first;
    const from = cursor.value ?? { x: 0.5, y: 0.5 };
    const to = (at: number, n: number, d: number) => (Math.min(n - 1, Math.max(0, Math.floor(at * n) + d)) + 0.5) / n;
    cursor.value = { x: to(from.x, width, by[0]), y: to(from.y, height, by[1]) };
  } else if (event.key === "+" || event.key === "=") zoomBy(1.25, cursor.value?.x, cursor.value?.y);
  else if (event.key === "-") zoomBy(0.8, cursor.value?.x, cursor.value?.y);
  else if (event.key === "0") view.value = FIT;
  else return;
  event.preventDefault();
}

function paint(element: HTMLCanvasElement, layers: Layer[]): void {
  const { clientWidth: width, clientHeight: height } = element;
  if (!width || !height) return;
  const dense = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * dense), Math.round(height * dense)];
  if (element.width !== w || element.height !== h) Object.assign(element, { width: w, height: h });
  const context = element.getContext("2d")!;
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.clearRect(0, 0, width, height);
  const first = layers[0]?.shown.data as Pixels | undefined;
  if (!first) return;
  const at = placed({ width, height }, first);
  context.imageSmoothingEnabled = at.scale * dense < 3; // from there on pixels are seen as they are
  context.imageSmoothingQuality = "high";
  for (const { shown, look, opacity, from, covers } of layers) {
    context.save();
    context.beginPath();
    context.rect(from * width, 0, width, height);
    context.clip();
    context.globalAlpha = opacity;
    const [lo, hi] = levels(shown, look);
    context.drawImage(raster(shown.data as Pixels).draw(look.map, lo, hi), at.left, at.top, at.wide, at.high);
    for (const cover of covers) {
      context.globalAlpha = opacity * cover.opacity;
      const image = raster(cover.data as Pixels).draw(cover.name, 0, (255 * cover.most) / cover.white);
      context.drawImage(image, at.left, at.top, at.wide, at.high);
    }
    context.restore();
  }
  if (cursor.value) cross(context, at.left + cursor.value.x * at.wide, at.top + cursor.value.y * at.high);
}

/** A thin cross with an open middle, dark around so that it is seen on white, too. */
function cross(context: CanvasRenderingContext2D, x: number, y: number): void {
  for (const [colour, wide] of [["rgb(0 0 0 / 0.6)", 3], ["rgb(255 255 255 / 0.95)", 1]] as const) {
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]] as const) {
      context.moveTo(x + 4 * dx, y + 4 * dy);
      context.lineTo(x + 13 * dx, y + 13 * dy);
    }
    context.stroke();
  }
}
