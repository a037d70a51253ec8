/** The page: header, steps at the left, pictures and results at the right. */

import { signal } from "@preact/signals";
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { takeToken } from "./api";
import { fromDrop } from "./drop";
import { Choice } from "./panels/controls";
import { Display, Overlays } from "./panels/Display";
import { Fit, Fuse, RunBar } from "./panels/Fuse";
import { Result } from "./panels/Result";
import { Sources, Welcome } from "./panels/Sources";
import { begin, drop, info, message, say, slots } from "./state";
import { language, speak, store, t, words } from "./text";
import { useFreshLooks, Viewer } from "./view/Viewer";
import "./style/base.css";
import "./style/controls.css";
import "./style/frame.css";
import "./style/pictures.css";
import "./style/results.css";
import "./style/widths.css";

const theme = signal<"dark" | "light">(document.documentElement.dataset.theme === "light" ? "light" : "dark");

function paint(to: "dark" | "light"): void {
  theme.value = to;
  document.documentElement.dataset.theme = to;
  store("haarmony.theme", to);
}

function Page() {
  useEffect(() => {
    document.documentElement.lang = language.value === "zh" ? "zh-CN" : "en";
    document.title = `Haarmony · ${t("tagline")}`;
  }, [language.value]);
  const dragged = useDrops();
  const a = slots.a.value.source;
  const b = slots.b.value.source;
  useFreshLooks("a", a?.id);
  useFreshLooks("b", b?.id);
  return (
    <>
      <a class="skip" href="#main">
        {t("skip")}
      </a>
      <Head />
      <p class="disclaimer">{t("disclaimer")}</p>
      <div class="body">
        {!(a || b) && (
          <main id="main" tabIndex={-1} key="empty">
            <Welcome />
          </main>
        )}
        <div class="side" key="side">
          <Sources />
          <Fit />
          <Fuse />
        </div>
        {(a || b) && (
          <main id="main" tabIndex={-1} key="pictures">
            <Viewer />
            <Overlays />
            <Display />
            <Result />
          </main>
        )}
      </div>
      {dragged && <div class="curtain">{t("drop_now")}</div>}
      <RunBar />
      <Message />
    </>
  );
}

function Head() {
  const keys = useRef<HTMLDialogElement>(null);
  return (
    <header class="head">
      <img src="/favicon.svg" alt="" width="28" height="28" />
      <p class="brand">
        <b>Haarmony</b>
        <span>{t("tagline")}</span>
        {info.value && <small>{info.value.version}</small>}
      </p>
      <div class="head-end">
        <button type="button" class="quiet" onClick={() => keys.current!.showModal()} aria-label={t("help")} title={t("help")}>
          ?
        </button>
        <Choice
          label={t("theme")}
          value={theme.value}
          options={[
            { value: "dark", text: t("theme_dark") },
            { value: "light", text: t("theme_light") },
          ]}
          choose={paint}
        />
        <Choice
          label={t("language")}
          value={language.value}
          options={[
            { value: "en", text: "EN" },
            { value: "zh", text: "中文" },
          ]}
          choose={speak}
        />
      </div>
      <dialog ref={keys} aria-labelledby="keys">
        <h2 id="keys">{t("help")}</h2>
        <dl class="keys">
          {words().keys.map(([key, does]) => (
            <div key={key}>
              <dt>
                <kbd>{key}</kbd>
              </dt>
              <dd>{does}</dd>
            </div>
          ))}
        </dl>
        <form method="dialog">
          <button type="submit">{t("close")}</button>
        </form>
      </dialog>
    </header>
  );
}

/** Files dropped anywhere else on the page; dropped on a source they go there. */
function useDrops(): boolean {
  const [over, put] = useState(false);
  useEffect(() => {
    let deep = 0;
    const has = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => has(event) && (deep++, put(true));
    const leave = (event: DragEvent) => has(event) && --deep <= 0 && put(false);
    const hover = (event: DragEvent) => event.preventDefault();
    const end = () => {
      deep = 0;
      put(false);
    };
    const fall = (event: DragEvent) => {
      event.preventDefault();
      if (event.dataTransfer) void fromDrop(event.dataTransfer).then((found) => (found.length ? drop(found) : undefined), say);
    };
    addEventListener("dragenter", enter);
    addEventListener("dragleave", leave);
    addEventListener("dragover", hover);
    addEventListener("drop", end, true);
    addEventListener("drop", fall);
    return () => {
      removeEventListener("dragenter", enter);
      removeEventListener("dragleave", leave);
      removeEventListener("dragover", hover);
      removeEventListener("drop", end, true);
      removeEventListener("drop", fall);
    };
  }, []);
  return over;
}

/** One line over the page's foot, so that nothing moves; good news goes by itself. */
function Message() {
  const now = message.value;
  useEffect(() => {
    if (!now || now.bad) return;
    const timer = setTimeout(() => (message.value = null), 4000);
    return () => clearTimeout(timer);
  }, [now]);
  return (
    <div class="messages" role={now?.bad ? "alert" : "status"} aria-live={now?.bad ? "assertive" : "polite"}>
      {now && (
        <div class={`message ${now.bad ? "bad" : ""}`}>
          <p>{now.text}</p>
          <button type="button" onClick={() => (message.value = null)}>
            {t("dismiss")}
          </button>
        </div>
      )}
    </div>
  );
}

function NoToken() {
  return (
    <main class="no-token">
      <img src="/favicon.svg" alt="" width="56" height="56" />
      <h1>{t("no_token")}</h1>
      <p>{t("no_token_text")}</p>
    </main>
  );
}

const root = document.getElementById("page")!;
if (takeToken()) {
  render(<Page />, root);
  void begin();
} else render(<NoToken />, root);
