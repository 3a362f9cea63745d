// Joins the slice browser with the bull's-eye, the table of segments and the printer.

const { document: report, volumes } = JSON.parse(document.getElementById("data").textContent);
const viewer = new Viewer(document.getElementById("viewer"), new Volume(volumes), report.segments);
viewer.wallsKnown = report.input.orientation_known;

const map = document.getElementById("map");
const polar = document.getElementById("polar");
const panel = document.getElementById("segment-panel");
const hint = panel.firstElementChild;
const chosenOutline = document.getElementById("chosen-wedge");
const focusOutline = chosenOutline.cloneNode();
focusOutline.id = "focus-wedge";
chosenOutline.after(focusOutline);

const wedges = [...polar.querySelectorAll(".wedge")];
const outlineOf = (number) =>
  number ? wedges[number - 1].querySelector("path").getAttribute("d") : "M0 0";

function percent(share) {
  if (share === null) return "not imaged";
  return share > 0 && share < 0.005 ? "<1 %" : `${(100 * share).toFixed(0)} %`;
}

// Numbers of one segment beside the map; without one, how to get them.
function describeSegment(number) {
  if (!number) { panel.replaceChildren(hint); return; }
  const segment = report.segments[number - 1], belief = report.ecg.segment_belief;
  const facts = [
    ["Burden", percent(segment.burden)],
    ["Transmurality", percent(segment.transmurality)],
    ["Scar", `${segment.scar_ml.toFixed(1)} mL`],
    ["Wall", `${segment.myocardium_ml.toFixed(1)} mL`],
    ["Usual territory", segment.territory],
  ];
  if (belief) facts.push(["ECG alone", percent(belief[number - 1])]);
  const title = document.createElement("h3"), list = document.createElement("dl");
  title.textContent = `${number} ${segment.name}`;
  for (const [name, value] of facts) {
    const row = document.createElement("div");
    row.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }));
    list.append(row);
  }
  panel.replaceChildren(title, list);
}

viewer.onChoose = (chosen) => {
  wedges.forEach((wedge, i) => wedge.setAttribute("aria-pressed", String(i + 1 === chosen)));
  chosenOutline.setAttribute("d", outlineOf(chosen));
  document.querySelectorAll("tr[data-segment]").forEach((row) =>
    row.classList.toggle("chosen", Number(row.dataset.segment) === chosen));
  describeSegment(chosen);
};

for (const [i, wedge] of wedges.entries()) {
  const number = i + 1;
  const press = () => viewer.chooseSegment(viewer.segment === number ? null : number);
  wedge.addEventListener("click", press);
  wedge.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    press();
  });
  wedge.addEventListener("pointerenter", () => describeSegment(number));
  wedge.addEventListener("pointerleave", () => describeSegment(viewer.segment));
  wedge.addEventListener("focus", () => {
    describeSegment(number);
    focusOutline.setAttribute("d", wedge.matches(":focus-visible") ? outlineOf(number) : "M0 0");
  });
  wedge.addEventListener("blur", () => {
    describeSegment(viewer.segment);
    focusOutline.setAttribute("d", "M0 0");
  });
}

map.querySelectorAll('input[name="measure"]').forEach((radio) =>
  radio.addEventListener("change", () => { map.dataset.measure = radio.value; }));

// All slices are printed, with the overlay and window that are on the screen.
addEventListener("beforeprint", () => viewer.paintStrip(420, 40));
