import { useState } from "preact/hooks";
import { bytes } from "../api";
import { metricName, unitName, warning } from "../known";
import { message, run } from "../state";
import { number, t } from "../text";
import type { Run } from "../types";

/** What to know of the fused picture: warnings first, then the figures. */
export function Result() {
  const made = run.value;
  if (!made || made.state !== "done") return null;
  return (
    <div class="results">
      <div class="column">
        <Warnings made={made} />
        <Save made={made} />
      </div>
      <Metrics made={made} />
    </div>
  );
}

function Warnings({ made }: { made: Run }) {
  const { warnings, notes, transform } = made;
  return (
    <section class={`card ${warnings.length ? "card-warn" : ""}`} aria-labelledby="warnings">
      <h2 id="warnings">{t(warnings.length ? "warnings" : "explained")}</h2>
      {warnings.length === 0 && <p data-warnings="0">{t(made.explain ? "no_warnings" : "unchecked")}</p>}
      {warnings.length > 0 && (
        <ul class="warnings" data-warnings={warnings.length}>
          {warnings.map((one) => {
            const { text, lang } = warning(one);
            return (
              <li key={one} lang={lang}>
                {text}
              </li>
            );
          })}
        </ul>
      )}
      <Explained explain={made.explain} />
      {transform && (
        <>
          <h3>{t("alignment")}</h3>
          <p data-transform>
            {t("alignment_text", {
              shift: number(transform.shift, 3),
              unit: transform.unit,
              turn: number(transform.turn, 2),
              before: number(transform.nmi_before),
              after: number(transform.nmi_after),
            })}
          </p>
        </>
      )}
      {notes.length > 0 && (
        <>
          <h3>{t("notes")}</h3>
          <ul lang="en">
            {notes.map((note) => (
              <li key={note}>{note}</li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

/** The figures of explain.json that a reader can use, where they are there. */
function Explained({ explain }: { explain: Run["explain"] }) {
  if (!explain) return null;
  const of = explain.function as { value?: number | null } | number | null | undefined;
  const worth = typeof of === "number" ? of : of?.value;
  const seeds = explain.seeds;
  const facts: [string, string][] = [];
  if (typeof explain.flagged === "number") facts.push([t("ex_flagged"), `${number(100 * explain.flagged, 3)} %`]);
  if (typeof worth === "number") facts.push([t("ex_function"), number(worth, 3)]);
  if (Array.isArray(seeds)) facts.push([t("ex_seeds"), String(seeds.length)]);
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Metrics({ made }: { made: Run }) {
  return (
    <section class="card" aria-labelledby="metrics">
      <h2 id="metrics">{t("metrics")}</h2>
      <div class="table">
        <table>
          <thead>
            <tr>
              <th scope="col">{t("metric")}</th>
              <th scope="col" class="number">
                {t("value")}
              </th>
              <th scope="col">{t("better")}</th>
            </tr>
          </thead>
          <tbody>
            {made.metrics.map((metric) => (
              <tr key={metric.symbol}>
                <th scope="row">
                  {metricName(metric)} <span class="muted">{metric.symbol}</span>
                </th>
                <td class="number">
                  {number(metric.value)} <span class="muted">{unitName(metric.unit)}</span>
                </td>
                <td>
                  <span aria-hidden="true">{metric.higher_is_better ? "↑ " : "↓ "}</span>
                  {t(metric.higher_is_better ? "higher" : "lower_better")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** One press saves a file: fetched with the token, then handed to the browser. */
async function save(made: Run, name: string): Promise<void> {
  try {
    const blob = await bytes(`runs/${made.id}/files/${name}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `haarmony-${name === "all.zip" ? made.id.slice(0, 8) + ".zip" : name}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    message.value = { text: t("saved", { name: link.download }), bad: false };
  } catch (error) {
    message.value = { text: (error as Error).message, bad: true };
  }
}

type Line = Parameters<typeof t>[0];
const OFFERED: [RegExp, Line, boolean][] = [
  [/^fused\.(png|nii\.gz)$/, "save_fused", true],
  [/^figure\.png$/, "save_figure", true],
  [/^manifest\.json$/, "save_manifest", true],
  [/^fused_preview\.png$/, "save_preview", false],
  [/^aligned_b\./, "save_aligned", false],
  [/^transform\.json$/, "save_transform", false],
  [/^explain\.json$/, "save_explain", false],
  [/^spread\./, "spread", false],
  [/^unsupported\./, "unsupported", false],
  [/^share_a\./, "share_a", false],
  [/^share_b\./, "share_b", false],
];

function Save({ made }: { made: Run }) {
  const offered = OFFERED.flatMap(([pattern, line, first]) => {
    const name = made.files.find((one) => pattern.test(one));
    return name ? [{ name, line, first }] : [];
  });
  const button = ({ name, line }: { name: string; line: Line }) => (
    <button key={name} type="button" data-file={name} onClick={() => void save(made, name)}>
      {t(line)}
      <small>{name}</small>
    </button>
  );
  return (
    <section class="card" aria-labelledby="save">
      <h2 id="save">{t("save")}</h2>
      <div class="files">
        {made.files.includes("all.zip") && (
          <button type="button" class="primary" data-file="all.zip" onClick={() => void save(made, "all.zip")}>
            {t("save_all")}
          </button>
        )}
        {offered.filter(({ first }) => first).map(button)}
      </div>
      {offered.some(({ first }) => !first) && (
        <details class="options">
          <summary>{t("save_more")}</summary>
          <div class="files">{offered.filter(({ first }) => !first).map(button)}</div>
        </details>
      )}
      {made.files.includes("manifest.json") && <Repeat made={made} />}
    </section>
  );
}

function Repeat({ made }: { made: Run }) {
  const [line, put] = useState<{ id: string; text: string } | null>(null);
  const shown = line?.id === made.id ? line.text : null;
  const find = async () => {
    try {
      const manifest = JSON.parse(await (await bytes(`runs/${made.id}/files/manifest.json`)).text());
      const command: unknown = manifest.command;
      put({ id: made.id, text: Array.isArray(command) ? command.join(" ") : String(command ?? "") });
    } catch (error) {
      message.value = { text: (error as Error).message, bad: true };
    }
  };
  return (
    <details class="options" onToggle={(event) => event.currentTarget.open && !shown && void find()}>
      <summary>{t("repeat")}</summary>
      <pre class="command" tabIndex={0}>
        {shown ?? "…"}
      </pre>
      <button
        type="button"
        onClick={() => void navigator.clipboard.writeText(shown ?? "").then(() => (message.value = { text: t("copied"), bad: false }))}
      >
        {t("copy")}
      </button>
    </details>
  );
}
