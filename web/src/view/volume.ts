/** One volume with its overlays in NiiVue; loaded only where there are volumes. */

import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, NVImage, SHOW_RENDER, SLICE_TYPE } from "@niivue/niivue";
import { MAPS, OVERLAYS, type MapName, type Overlay } from "../colourmap";
import type { Voxels } from "./images";
import type { Planes } from "./looks";

const TYPES = { axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL };
const ORDER: (Planes | undefined)[] = ["axial", "coronal", "sagittal"];
const AXES = { axial: [0, 0, 1], coronal: [0, 1, 0], sagittal: [1, 0, 0], all: [0, 0, 1] } as const;

export interface Place {
  vox: number[]; // of this volume, from 0
  value: number | number[];
}

interface Location {
  values: { value: number; vox: number[] }[];
}

/** The linked views: what one shows, all show. */
const linked = new Set<VolumeView>();

export class VolumeView {
  private readonly nv: Niivue;
  private readonly covers = new Map<Overlay, { image: NVImage; data: Voxels }>();
  private queue: Promise<unknown> = Promise.resolve();
  private open = true;
  private turned = 0;
  private frame = 0;

  private constructor(private readonly canvas: HTMLCanvasElement) {
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.34, 0.75, 0.92, 0.85],
      crosshairWidth: 0.4,
      crosshairGap: 6, // the voxel itself stays free
      crosshairWidthUnit: "voxels",
      fontColor: [0.75, 0.79, 0.84, 1],
      fontMinPx: 11,
      isRadiologicalConvention: true,
      isColorbar: false,
      isOrientCube: false,
      show3Dcrosshair: false,
      multiplanarShowRender: SHOW_RENDER.NEVER,
      multiplanarLayout: MULTIPLANAR_TYPE.AUTO,
      multiplanarPadPixels: 4,
      dragMode: DRAG_MODE.none,
      mouseEventConfig: {
        leftButton: { primary: DRAG_MODE.crosshair },
        rightButton: DRAG_MODE.pan,
        centerButton: DRAG_MODE.pan,
      },
      dragAndDropEnabled: false,
      viewModeHotKey: "",
      clipPlaneHotKey: "",
      cycleClipPlaneHotKey: "",
      loadingText: "",
      isAntiAlias: false,
      logLevel: "silent",
    });
  }

  /** @throws Error Where the browser has no WebGL 2. */
  static async show(
    canvas: HTMLCanvasElement,
    data: Voxels,
    values: [number, number],
    heard: (place: Place) => void,
  ): Promise<VolumeView> {
    const self = new VolumeView(canvas);
    const { nv } = self;
    await nv.attachToCanvas(canvas, false);
    for (const [name, map] of Object.entries({ ...MAPS, ...OVERLAYS })) {
      nv.addColormap(name, { ...map, min: 0, max: 0 } as Parameters<Niivue["addColormap"]>[1]);
    }
    const image = await read(data, "source.nii", "grey", values);
    nv.onLocationChange = (found) => {
      const first = (found as Location).values[0];
      if (!first) return;
      const vox = first.vox.map(Math.round);
      const [x, y, z] = vox as [number, number, number];
      const several = image.hdr!.datatypeCode === 128 || image.hdr!.datatypeCode === 2304;
      heard({ vox, value: several ? [...image.getValues(x, y, z)] : first.value });
    };
    nv.addVolume(image);
    const other = [...linked][0];
    linked.add(self);
    for (const one of linked) one.nv.broadcastTo([...linked].filter((two) => two !== one).map((two) => two.nv));
    other?.nv.doSync2d(nv);
    nv.drawScene();
    nv.createOnLocationChange();
    return self;
  }

  look(map: MapName, [lo, hi]: [number, number]): void {
    const image = this.nv.volumes[0];
    if (!this.open || !image) return;
    const [least, most] = lo < hi ? [lo, hi] : [hi, lo];
    if (image.colormap === map && image.cal_min === least && image.cal_max === most) return;
    if (image.colormap !== map) image.colormap = map;
    image.colormapInvert = lo > hi; // white is the lesser value
    image.cal_min = least;
    image.cal_max = most;
    this.nv.updateGLVolume();
  }

  planes(to: Planes): void {
    if (!this.open) return;
    const type = to === "all" ? SLICE_TYPE.MULTIPLANAR : TYPES[to];
    if (this.nv.opts.sliceType !== type) this.nv.setSliceType(type);
  }

  /** Lay these maps over the volume, and no others. */
  cover(wanted: { name: Overlay; data: Voxels; opacity: number; most: number }[]): void {
    this.queue = this.queue.then(() => this.covered(wanted)).catch(() => {});
  }

  private async covered(wanted: { name: Overlay; data: Voxels; opacity: number; most: number }[]): Promise<void> {
    for (const [name, { image, data }] of this.covers) {
      if (this.open && !wanted.some((one) => one.name === name && one.data === data)) {
        this.nv.removeVolume(image);
        this.covers.delete(name);
      }
    }
    for (const { name, data, opacity, most } of wanted) {
      let there = this.covers.get(name);
      if (!there) {
        const image = await read(data, `${name}.nii`, name, [0, most]);
        if (!this.open) return;
        there = { image, data };
        this.covers.set(name, there);
        image.opacity = opacity;
        this.nv.addVolume(image);
      } else if (there.image.opacity !== opacity) {
        this.nv.setOpacity(this.nv.volumes.indexOf(there.image), opacity);
      }
    }
  }

  /** Move by whole slices along the plane that is shown. */
  step(by: number, plane: Planes): void {
    const [x, y, z] = AXES[plane];
    this.nv.moveCrosshairInVox(x * by, y * by, z * by);
    this.lead();
  }

  /** Turn the wheel over a place of the canvas: a slice a notch, however often it turns, drawn once a frame. */
  wheel(delta: number, x: number, y: number): void {
    const notch = 50; // a mouse sends 50 to 120 at once, a touchpad little by little
    this.turned = Math.abs(delta) >= notch ? this.turned + Math.sign(delta) * notch : this.turned + delta;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      const by = Math.trunc(this.turned / notch);
      this.turned -= by * notch;
      const dense = this.nv.uiData.dpr ?? 1;
      const tile = this.nv.screenSlices[this.nv.tileIndex(x * dense, y * dense)];
      const plane = tile && ORDER[tile.axCorSag]; // none over NiiVue's rendering
      if (this.open && by && plane) this.step(by, plane);
    });
  }

  zoom(factor: number): void {
    const [x, y, z, zoom] = this.nv.scene.pan2Dxyzmm as unknown as [number, number, number, number];
    const to = Math.min(20, Math.max(1, zoom * factor));
    this.nv.setPan2Dxyzmm(to === 1 ? [0, 0, 0, 1] : [x, y, z, to]);
    this.lead();
  }

  /** Take the others along; where its canvas has the focus NiiVue has done so. */
  private lead(): void {
    if (this.canvas.matches(":focus")) return;
    for (const { nv } of linked) {
      if (nv === this.nv) continue;
      this.nv.doSync2d(nv);
      nv.drawScene();
      nv.createOnLocationChange();
    }
  }

  close(): void {
    this.open = false;
    linked.delete(this);
    for (const one of linked) one.nv.broadcastTo([...linked].filter((two) => two !== one).map((two) => two.nv));
    this.nv.cleanup();
    this.canvas.getContext("webgl2")?.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

const read = ({ nifti }: Voxels, name: string, map: string, [lo, hi]: [number, number]): Promise<NVImage> =>
  NVImage.new(nifti, name, map, 1, null, lo, hi, true, 0.02, false, false, "", 0, undefined as never, NaN, NaN, false, null, 0, null);

/** Zoom all linked volumes; a tiny factor fits them. */
export const zoomAll = (factor: number): void => [...linked][0]?.zoom(factor);
