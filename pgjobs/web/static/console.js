// Keeps a page fresh, tells its times, takes keys, copies. Every page works without this script.

const GIVES_UP_AFTER_MS = 10_000, MAX_WAIT_S = 60, CONTINUES_AFTER_MS = 300;
const KEY_FOLLOWS_WITHIN_MS = 1_500, COPIED_FOR_MS = 2_000;
const TIMES_ARE_TOLD_EVERY_MS = 10_000;
const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

const byId = (id) => document.getElementById(id);
const [refresh, times, keysAre, stale] = ["refresh", "times", "keys-are", "stale"].map(byId);

// A browser may refuse to keep anything. Then each page begins with what the server chose.
function stored(storage, name, value) {
  try {
    if (value === undefined) return window[storage].getItem(`pgjobs.${name}`);
    window[storage].setItem(`pgjobs.${name}`, value);
  } catch { /* nothing is kept */ }
  return null;
}

function remember(select, onChange) {
  const value = stored("localStorage", select.id);
  if ([...select.options].some((option) => option.value === value)) select.value = value;
  select.addEventListener("change", () => {
    stored("localStorage", select.id, select.value);
    onChange();
  });
}

// Times: the server writes UTC, and the clock alone within a sentence of today.
function toldTime(element) {
  const at = new Date(element.dateTime);
  element.dataset.utc ??= element.textContent;
  if (Number.isNaN(at.getTime()) || times.value === "utc") return element.dataset.utc;
  if (times.value === "local") {
    const isClock = !element.dataset.utc.includes("-") && at.toDateString() === Date().slice(0, 15);
    const dateStyle = isClock ? undefined : "short";
    return at.toLocaleString("sv-SE", { dateStyle, timeStyle: "long" });
  }
  const seconds = (at - Date.now()) / 1000;
  const [unit, size] = UNITS.find((each) => Math.abs(seconds) >= each[1]) ?? UNITS.at(-1);
  return new Intl.RelativeTimeFormat("en").format(Math.trunc(seconds / size), unit);
}

function tellTimes() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const told = toldTime(element);
    if (element.textContent !== told && !isSelected(element)) element.textContent = told;
  }
}

// Regions: what the server has sent of each is compared with what it sends next.
const regionsOf = (page) => [...page.querySelectorAll("[data-region]")];
const served = new Map(regionsOf(document).map((each) => [each.dataset.region, each.innerHTML]));
function isSelected(element) {
  const selection = getSelection();
  return !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(element);
}

function isTouched(field) {
  if (field.options) return [...field.options].some((o) => o.selected !== o.defaultSelected);
  const isTick = ["checkbox", "radio"].includes(field.type);
  return isTick ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
}

// Whether somebody is at work in a region: then it waits for a later refresh.
function isHeld(region) {
  return region.contains(document.activeElement) || isSelected(region)
    || region.querySelector(":active, button:hover")
    || [...region.querySelectorAll("input, select, textarea")].some(isTouched);
}

function replace(region, fresh) {
  const html = fresh?.innerHTML;
  if (!fresh || served.get(region.dataset.region) === html || isHeld(region)) return;
  served.set(region.dataset.region, html);
  const all = (selector) => [...region.querySelectorAll(selector)];
  const key = (details, place) => details.dataset.key ?? place;
  const wasOpen = new Map(all("details").map((each, n) => [key(each, n), each.open]));
  const scrolled = all("pre, .wide").map((each) => [each.scrollLeft, each.scrollTop]);
  region.replaceChildren(...fresh.childNodes);
  all("details").forEach((each, n) => { each.open = wasOpen.get(key(each, n)) ?? each.open; });
  all("pre, .wide").forEach((each, n) => each.scrollTo(...(scrolled[n] ?? [0, 0])));
}

function show(page) {
  const fresh = new Map(regionsOf(page).map((each) => [each.dataset.region, each]));
  if (!fresh.size) throw new Error("this is no page of the console");
  for (const each of regionsOf(document)) replace(each, fresh.get(each.dataset.region));
  tellTimes();
}

// Refreshing: one request at a time, ever fewer while there is no answer, none in a hidden tab and
// on pages that have no region but the one for troubles.
let timer, isAsking = false, isOver = false, failures = 0;
let askedAt = Date.now(), answeredAt = askedAt;
function plan() {
  clearTimeout(timer);
  const every = Number(refresh.value);
  if (!every || isOver || isAsking || document.hidden || served.size < 2 || next) return;
  const wait = Math.min(every * 2 ** failures, MAX_WAIT_S) * (failures ? 1 + Math.random() / 4 : 1);
  timer = setTimeout(ask, Math.max(0, askedAt + wait * 1000 - Date.now()));
}

async function ask() {
  isAsking = true;
  askedAt = Date.now();
  try {
    const answer = await fetch(location.href, {
      headers: { accept: "text/html" }, cache: "no-store", redirect: "manual",
      signal: AbortSignal.timeout(GIVES_UP_AFTER_MS),
    });
    isOver = answer.type === "opaqueredirect" || [401, 403, 404].includes(answer.status);
    if (!isOver && !answer.ok) throw new Error(`status ${answer.status}`);
    if (!isOver) show(new DOMParser().parseFromString(await answer.text(), "text/html"));
    stale.textContent = !isOver ? "" : answer.status === 404 ? "This page is no longer there."
      : "You are no longer let in, so this page is not refreshed. Load it again to log in.";
    failures = 0;
    answeredAt = askedAt;
  } catch {
    failures += 1;
    if (failures === 1) tellStale();
  }
  isAsking = false;
  plan();
}

function tellStale() {
  const since = document.createElement("time");
  since.dateTime = new Date(answeredAt).toISOString();
  since.textContent = `${since.dateTime.slice(11, 19)} UTC`;
  stale.replaceChildren("The console gives no answer. What is shown is of ", since, ".");
  tellTimes();
}

// Keys: g and a letter lead to a page; the letter is the first of its name that is not taken.
const pageOfKey = new Map();
for (const link of document.querySelectorAll("header nav a")) {
  const key = [...link.textContent.trim().toLowerCase()].find((each) => !pageOfKey.has(each));
  pageOfKey.set(key, link);
  const line = byId("page-keys").appendChild(document.createElement("li"));
  line.textContent = `g ${key}: ${link.textContent.trim()}`;
}
let goesUntil = 0;
function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, select, textarea, [contenteditable], dialog")) return;
  if (keysAre.value === "off") return;
  const link = event.timeStamp < goesUntil && pageOfKey.get(event.key);
  goesUntil = event.key === "g" ? event.timeStamp + KEY_FOLLOWS_WITHIN_MS : 0;
  if (link || "/?".includes(event.key)) event.preventDefault();
  if (link) link.click();
  else if (event.key === "/") byId("q")?.select();
  else if (event.key === "?") byId("keys").showModal();
}

// Copying: without TLS there is no clipboard, but what is selected can be copied.
async function copy(button) {
  const [label, from] = [button.textContent, document.querySelector(button.dataset.copy)];
  const text = (from.href ?? from.value ?? from.textContent).trim();
  const isCopied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  button.textContent = isCopied || copySelected(text) ? "Copied" : "Not copied";
  button.focus();
  setTimeout(() => { button.textContent = label; }, COPIED_FOR_MS);
}

function copySelected(text) {
  const area = document.body.appendChild(document.createElement("textarea"));
  area.className = "offscreen";
  area.value = text;
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return isCopied;
}

// A change in steps goes on by itself only after a step that was sent from this tab: a link from
// elsewhere, Back and a reload begin nothing.
const steps = document.querySelector("form[data-continue]");
const wasSent = stored("sessionStorage", "sent") === "yes";
stored("sessionStorage", "sent", "no");
const next = steps && wasSent ? setTimeout(() => steps.requestSubmit(), CONTINUES_AFTER_MS) : null;

addEventListener("submit", ({ target }) => {
  if (target.getAttribute("method") === "post") stored("sessionStorage", "sent", "yes");
});
addEventListener("click", ({ target }) => {
  const button = target.closest("[data-copy]");
  if (button) copy(button);
  if (target.closest("#show-keys")) byId("keys").showModal();
  if (next && target.closest("[data-stop]")) { clearTimeout(next); window.stop(); }
});
addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", plan);
setInterval(() => { if (times.value === "relative") tellTimes(); }, TIMES_ARE_TOLD_EVERY_MS);
remember(refresh, plan);
remember(times, tellTimes);
remember(keysAre, () => {});
document.documentElement.classList.add("has-script");
tellTimes();
plan();
