import { useRef, useState } from "preact/hooks";
import { fromDrop, fromField } from "../drop";
import { drop, info, phantom, read, remove, running, slots, swap, type Side } from "../state";
import { number, size, t } from "../text";
import { Field, Select } from "./controls";

export function Sources() {
  const both = slots.a.value.source && slots.b.value.source;
  return (
    <section class="card" aria-labelledby="sources">
      <header class="card-head">
        <h2 id="sources">{t("sources")}</h2>
        <button type="button" class="quiet" disabled={!both || running.value} onClick={swap} title={t("swap")} aria-label={t("swap")}>
          ⇅
        </button>
      </header>
      <div class="slots">
        <SlotCard side="a" />
        <SlotCard side="b" />
      </div>
      <p class="hint">{t("formats")}</p>
    </section>
  );
}

function SlotCard({ side }: { side: Side }) {
  const slot = slots[side].value;
  const [over, put] = useState(false);
  const { source, sent, series, problem } = slot;
  const title = t(side === "a" ? "source_a" : "source_b");
  return (
    <div
      class={`slot slot-${side} ${over ? "over" : ""}`}
      data-slot={side}
      role="group"
      aria-label={title}
      onDragOver={(event) => (event.preventDefault(), put(true))}
      onDragLeave={() => put(false)}
      onDrop={async (event) => {
        event.preventDefault();
        event.stopPropagation();
        put(false);
        const found = await fromDrop(event.dataTransfer!);
        if (found.length) await drop(found, side);
      }}
    >
      <div class="slot-head">
        <span class="dot" aria-hidden="true" />
        <h3>{title}</h3>
        {(source || problem || series) && (
          <button type="button" class="quiet" disabled={running.value} onClick={() => remove(side)} aria-label={`${t("remove")}: ${title}`} title={t("remove")}>
            ×
          </button>
        )}
      </div>
      <div class="slot-body" aria-live="polite">
        {sent !== null ? (
          <>
            <p>{sent < 1 ? t("uploading", { percent: Math.round(100 * sent) }) : t("reading")}</p>
            <progress value={sent < 1 ? sent : undefined} max={1} aria-label={title} />
          </>
        ) : series ? (
          <SeriesChoice side={side} />
        ) : source ? (
          <Facts side={side} />
        ) : (
          <p class="muted">{t(side === "a" ? "hint_a" : "hint_b")}</p>
        )}
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
      </div>
      <Choosers side={side} />
      {source && slot.items && <Options side={side} />}
    </div>
  );
}

function Facts({ side }: { side: Side }) {
  const source = slots[side].value.source!;
  const [lo, hi] = source.values;
  const facts = [
    source.shape.join(" × "),
    source.spacing && `${source.spacing.map((one) => number(one, 3)).join(" × ")} mm`,
    t(source.colour ? "colour_word" : "grey_word"),
    source.depth,
    `${t("values", { lo: number(lo), hi: number(hi) })}${source.unit ? ` ${source.unit}` : ""}`,
  ];
  return (
    <>
      <p class="name" title={source.name}>
        {source.name}
      </p>
      <p class="muted">{facts.filter(Boolean).join(" · ")}</p>
      {source.notes.map((note) => (
        <p key={note} class="muted" lang="en">
          {note}
        </p>
      ))}
    </>
  );
}

function SeriesChoice({ side }: { side: Side }) {
  const { series, items, reading } = slots[side].value;
  return (
    <fieldset class="series">
      <legend>{t("which_series")}</legend>
      {series!.map((one) => (
        <button key={one.number} type="button" onClick={() => void read(side, items!, { ...reading, series: one.number })}>
          <b>{one.number}</b> {one.modality} {one.description} <span class="muted">{t("slices", { n: one.slices })}</span>
        </button>
      ))}
    </fieldset>
  );
}

function Choosers({ side }: { side: Side }) {
  const files = useRef<HTMLInputElement>(null);
  const folder = useRef<HTMLInputElement>(null);
  const title = t(side === "a" ? "source_a" : "source_b");
  const chosen = (input: HTMLInputElement) => {
    if (input.files?.length) void read(side, fromField(input.files));
    input.value = ""; // the same file can be chosen again
  };
  return (
    <div class="choosers">
      <button type="button" disabled={running.value} onClick={() => files.current!.click()} aria-label={`${title}: ${t("choose_files")}`}>
        {t("choose_files")}
      </button>
      <button type="button" disabled={running.value} onClick={() => folder.current!.click()} aria-label={`${title}: ${t("choose_folder")}`}>
        {t("choose_folder")}
      </button>
      <input ref={files} data-files={side} type="file" multiple hidden onChange={(event) => chosen(event.currentTarget)} />
      <input
        ref={(element) => {
          folder.current = element;
          element?.setAttribute("webkitdirectory", "");
        }}
        data-folder={side}
        type="file"
        hidden
        onChange={(event) => chosen(event.currentTarget)}
      />
    </div>
  );
}

const WINDOWS = ["", "brain", "bone", "soft", "lung"] as const;

function Options({ side }: { side: Side }) {
  const { items, reading } = slots[side].value;
  const [window, put] = useState(reading.window ?? "");
  const [range, type] = useState(reading.range ?? "");
  return (
    <details class="options">
      <summary>{t("reading_options")}</summary>
      <Select
        label={t("ct_window")}
        value={window as (typeof WINDOWS)[number]}
        options={WINDOWS.map((name) => [name, name ? t(`window_${name}`) : t("as_stored")])}
        choose={put}
      />
      <Field label={t("black_white")}>
        <input
          type="text"
          inputMode="text"
          value={range}
          placeholder={t("black_white_hint")}
          onInput={(event) => type(event.currentTarget.value)}
        />
      </Field>
      <button
        type="button"
        disabled={running.value}
        onClick={() => void read(side, items!, { ...reading, window, range: range.replace("，", ",").replace(/\s/g, "") })}
      >
        {t("read_again")}
      </button>
    </details>
  );
}

/** What an empty page shows: where to drop, and phantoms for who has nothing at hand. */
export function Welcome() {
  const [second, put] = useState<"PET" | "SPECT" | "CT">("PET");
  const [kind, choose] = useState<"picture" | "volume">("picture");
  const most = info.value?.largest_upload;
  return (
    <section class="welcome" aria-labelledby="welcome">
      <svg viewBox="0 0 96 64" aria-hidden="true">
        <circle cx="36" cy="32" r="24" class="disc-a" />
        <circle cx="60" cy="32" r="24" class="disc-b" />
        <path d="M48 11.2a24 24 0 0 1 0 41.6 24 24 0 0 1 0-41.6z" class="disc-f" />
      </svg>
      <h1 id="welcome">{t("welcome")}</h1>
      <p>{t("welcome_text")}</p>
      <p class="muted">
        {t("formats")}
        {most ? ` ≤ ${size(most)}` : ""}
      </p>
      <form
        class="phantom"
        onSubmit={(event) => {
          event.preventDefault();
          void phantom(second, kind === "volume");
        }}
      >
        <h2>{t("or_phantom")}</h2>
        <Select label={t("phantom_second")} name="phantom-second" value={second} options={[["PET", "PET"], ["SPECT", "SPECT"], ["CT", "CT"]]} choose={put} />
        <Select label={t("phantom_kind")} name="phantom-kind" value={kind} options={[["picture", t("picture")], ["volume", t("volume")]]} choose={choose} />
        <button type="submit" class="primary" data-do="phantom">
          {t("take")}
        </button>
      </form>
    </section>
  );
}
