import { fuse, info, pair, progress, ready, run, running, set, settings, slots, stale, stop, volumes } from "../state";
import { number, t } from "../text";
import { modelTitle } from "../known";
import { Choice, Field, Select } from "./controls";

/** Whether the sources fit, and what to do where they do not. */
export function Fit() {
  const found = pair.value;
  const waiting = !slots.a.value.source || !slots.b.value.source;
  const { register } = settings.value;
  const can = info.value?.register ?? false;
  const kind = waiting || found === null ? "waiting" : found === "checking" ? "checking" : !found.fits ? "no" : found.misaligned ? "apart" : "yes";
  const off = found !== null && found !== "checking" ? found.misaligned : null;
  return (
    <section class="card" aria-labelledby="fit">
      <h2 id="fit">{t("fit")}</h2>
      <div class={`fit fit-${kind}`} data-fit={kind} role="status">
        {kind === "waiting" && <p class="muted">{t("fit_waiting")}</p>}
        {kind === "checking" && <p class="muted">{t("fit_checking")}</p>}
        {kind === "yes" && <p>{t("fit_yes")}</p>}
        {kind === "no" && found !== "checking" && (
          <>
            <p>
              <b>{t("fit_no")}</b>
            </p>
            <p lang="en">{found?.problem}</p>
          </>
        )}
        {off && (
          <>
            <p>
              <b>{t("misaligned")}</b>
            </p>
            <p>
              {t("misaligned_text", {
                shift: number(off.shift, 3),
                unit: off.unit,
                turn: number(off.turn, 2),
                nmi: number(off.nmi),
                there: number(off.nmi_there),
              })}
            </p>
          </>
        )}
      </div>
      <div class="field">
        <span aria-hidden="true">{t("align")}</span>
        <Choice
          label={t("align")}
          value={register}
          off={!can || running.value}
          options={[
            { value: "none", text: t("align_none") },
            { value: "rigid", text: t("align_rigid") },
            { value: "affine", text: t("align_affine") },
          ]}
          choose={(to) => set({ register: to })}
        />
      </div>
      {info.value && !can && <p class="hint">{t("align_extra")}</p>}
    </section>
  );
}

export function Fuse() {
  const { model, steps, seed, colour, plane, explain, seeds } = settings.value;
  const models = info.value?.models ?? [];
  const chosen = models.find(({ name }) => name === model);
  const most = chosen?.most_steps ?? 1;
  const off = running.value;
  const whole = (text: string, least: number, otherwise: number) => {
    const value = Math.round(Number(text));
    return text.trim() !== "" && Number.isFinite(value) ? Math.max(least, value) : otherwise;
  };
  return (
    <section class="card" aria-labelledby="fuse">
      <h2 id="fuse">{t("fuse_heading")}</h2>
      <Select
        label={t("model")}
        name="model"
        value={model}
        off={off}
        options={models.map((one) => [one.name, `${modelTitle(one)} (${one.name})`])}
        choose={(to) => set({ model: to, steps: null })}
      />
      {chosen && (
        <details class="options">
          <summary>
            {t("intended")} · {t("limits")}
          </summary>
          <div lang="en">
            <p>{chosen.description}</p>
            <p>{chosen.intended_use}</p>
            <p>{chosen.limits}</p>
          </div>
        </details>
      )}
      <div class="pair">
        <Field label={t("steps")}>
          <input
            type="number"
            name="steps"
            min={1}
            max={most}
            disabled={off || chosen?.steps === null}
            value={steps ?? ""}
            placeholder={chosen?.steps ? `${chosen.steps} · ${t("steps_own")}` : "–"}
            title={chosen?.steps === null ? t("steps_none") : `1–${most}`}
            onChange={(event) => {
              const { value } = event.currentTarget;
              const to = value === "" ? null : Math.min(most, whole(value, 1, chosen?.steps ?? 1));
              set({ steps: to });
              event.currentTarget.value = to === null ? "" : String(to);
            }}
          />
        </Field>
        <Field label={t("seed")}>
          <span class="with-button">
            <input
              type="number"
              name="seed"
              min={0}
              disabled={off}
              value={seed}
              onChange={(event) => {
                const to = Math.min(2 ** 31 - 1, whole(event.currentTarget.value, 0, seed));
                set({ seed: to });
                event.currentTarget.value = String(to);
              }}
            />
            <button type="button" class="icon" disabled={off} title={t("another_seed")} aria-label={t("another_seed")} onClick={() => set({ seed: Math.floor(Math.random() * 1e6) })}>
              ↻
            </button>
          </span>
        </Field>
      </div>
      <Select
        label={t("colour")}
        name="colour"
        value={colour}
        off={off}
        options={[["auto", t("colour_auto")], ["first", t("colour_first")], ["second", t("colour_second")], ["grey", t("colour_grey")]]}
        choose={(to) => set({ colour: to })}
      />
      {volumes.value && (
        <Select
          label={t("plane")}
          name="plane"
          value={plane}
          off={off}
          options={[["auto", t("plane_auto")], ["axial", t("axial")], ["coronal", t("coronal")], ["sagittal", t("sagittal")]]}
          choose={(to) => set({ plane: to })}
        />
      )}
      <label class="check">
        <input type="checkbox" name="explain" checked={explain} disabled={off} onChange={(event) => set({ explain: event.currentTarget.checked })} />
        <span>
          {t("explain")}
          <small>{t("explain_text")}</small>
        </span>
      </label>
      <div class="pair">
        <Field label={t("seeds")}>
          <input
            type="number"
            name="seeds"
            min={2}
            max={64}
            disabled={off || !explain}
            value={seeds}
            onChange={(event) => {
              const to = Math.min(64, whole(event.currentTarget.value, 2, seeds));
              set({ seeds: to });
              event.currentTarget.value = String(to);
            }}
          />
        </Field>
        <div class="field end">
          {off ? (
            <button type="button" class="stop" data-do="stop" onClick={() => void stop()}>
              {t("stop")}
            </button>
          ) : (
            <button type="button" class="primary" data-do="fuse" disabled={!ready.value} onClick={() => void fuse().then(shown)}>
              {t("fuse")}
            </button>
          )}
        </div>
      </div>
      <Advance />
    </section>
  );
}

/** In a small window the pictures lie below: go there. */
function shown(): void {
  if (running.value && innerWidth < 1100) document.querySelector(".viewer")?.scrollIntoView({ behavior: "smooth" });
}

/** The progress bar and one line under it; they keep their place when there is nothing to say. */
function Advance() {
  const made = run.value;
  const step = progress.value;
  const state = made?.state ?? "none";
  const share = state === "done" ? 1 : step && state === "running" ? step.done / step.of : 0;
  return (
    <div class="advance" data-state={state}>
      <progress
        aria-label={t("progress")}
        max={1}
        value={state === "running" && (!step || step.done >= step.of) ? undefined : share}
        data-n={step?.n ?? 0}
      />
      <p role="status">{line()}</p>
    </div>
  );
}

/** Where the steps are out of sight, at the foot of a small window: how far it is, and stop. */
export function RunBar() {
  const step = progress.value;
  if (!running.value) return null;
  return (
    <div class="run-bar">
      <div class="advance">
        <progress aria-hidden="true" max={1} value={step && step.done < step.of ? step.done / step.of : undefined} />
        <p>{line()}</p>
      </div>
      <button type="button" class="stop" onClick={() => void stop()}>
        {t("stop")}
      </button>
    </div>
  );
}

function line(): string {
  const made = run.value;
  const step = progress.value;
  switch (made?.state) {
    case "running": {
      if (!step) return t("progress_wait");
      if (step.done >= step.of) return t("progress_rest");
      const taken = (step.at - step.began) / 1000;
      const left = step.done > 1 ? (taken / (step.done - 1)) * (step.of - step.done) : 0;
      const said = t("progress_step", { done: step.done, of: step.of });
      return left >= 2 ? `${said} · ${t("progress_left", { seconds: Math.round(left) })}` : said;
    }
    case "done":
      return [t("done_in", { seconds: number(made.seconds, 2) }), stale.value && t("stale")].filter(Boolean).join(" · ");
    case "failed":
      return `${t("failed")}: ${made.error ?? ""}`;
    case "stopped":
      return t("stopped");
    default:
      return "";
  }
}
