// The form: settings from and to it, layers, and the messages beside its fields.

const CHOICES = ["data", "activation", "solver", "normalization"];
const NUMBERS = ["n_samples", "noise", "test_size", "seed", "learning_rate_init", "batch_size", "alpha", "dropout"];
const $ = (id) => document.getElementById(id);
// What is no number is sent as it is, and answered with a message.
const numberOf = (text) => (text.trim() !== "" && isFinite(text) ? Number(text) : text);

export class SettingsForm {
  constructor(changed) {
    this.changed = changed;
    this.toys = [];
    $("settings").addEventListener("change", (event) => {
      if (event.target.type === "file") return;
      if (event.target.id === "data") this.propose();
      this.changed();
    });
    $("settings").addEventListener("submit", (event) => event.preventDefault());
    $("add-layer").onclick = () => {
      this.layers([...this.units(), 4]);
      this.changed();
      $("layers").lastElementChild.querySelector("input").focus();
    };
  }

  // The first network of the page is too small for digits; one that was chosen stays.
  propose() {
    if ($("data").value !== "digits" || String(this.units()) !== "4,2") return;
    this.layers([32]);
    $("batch_size").value = 100;
    $("learning_rate_init").value = 0.01;
  }

  // What there is to choose from, which the server knows; the first time it is told.
  offer(choices, toys) {
    if (this.toys.length) return;
    this.toys = toys;
    for (const [name, values] of Object.entries(choices)) {
      $(name).replaceChildren(...values.map((value) => new Option(value, value)));
    }
  }

  units() {
    return [...$("layers").querySelectorAll("input")].map((input) => numberOf(input.value));
  }

  layers(sizes) {
    $("layers").replaceChildren(...sizes.map((units, number) => {
      const row = document.createElement("div");
      row.className = "layer";
      row.draggable = true;
      const name = document.createElement("span");
      name.textContent = `⠿ Layer ${number + 1}`;
      const input = document.createElement("input");
      input.value = units;
      input.inputMode = "numeric";
      input.setAttribute("aria-label", `Units in layer ${number + 1}`);
      input.setAttribute("aria-describedby", "hidden_layer_sizes-problem");
      const move = (from, to) => {
        const moved = this.units();
        moved.splice(to, 0, ...moved.splice(from, 1));
        this.layers(moved);
        this.changed();
      };
      const button = (text, label, act, off = false) => {
        const made = document.createElement("button");
        made.type = "button";
        made.textContent = text;
        made.setAttribute("aria-label", `${label} layer ${number + 1}`);
        made.onclick = act;
        made.disabled = off;
        return made;
      };
      row.append(name, input,
        button("↑", "Move up", () => move(number, number - 1), number === 0),
        button("−", "Remove", () => {
          this.layers(this.units().filter((_, other) => other !== number));
          this.changed();
          $("add-layer").focus();
        }));
      row.ondragstart = (event) => event.dataTransfer.setData("text/x-layer", String(number));
      row.ondragover = (event) => {
        if (!event.dataTransfer.types.includes("text/x-layer")) return;
        event.preventDefault();
        row.classList.add("over");
      };
      row.ondragleave = () => row.classList.remove("over");
      row.ondrop = (event) => {
        const from = event.dataTransfer.getData("text/x-layer");
        if (from === "") return;
        event.preventDefault();
        move(Number(from), number);
      };
      return row;
    }));
  }

  read() {
    const settings = { hidden_layer_sizes: this.units() };
    for (const name of CHOICES) settings[name] = $(name).value;
    for (const name of NUMBERS) settings[name] = numberOf($(name).value);
    return settings;
  }

  write(settings) {
    if (settings.data === "csv" && !$("data").querySelector("[value=csv]")) $("data").append(new Option("your table", "csv"));
    for (const name of [...CHOICES, ...NUMBERS]) if (name in settings) $(name).value = settings[name];
    if (JSON.stringify(settings.hidden_layer_sizes) !== JSON.stringify(this.units())) this.layers(settings.hidden_layer_sizes);
    document.querySelector(".toy-only").hidden = !this.toys.includes(settings.data);
    for (const name of ["learning_rate_init", "batch_size", "dropout"]) $(name).disabled = settings.solver === "lbfgs";
  }

  problems(found) {
    this.clear();
    for (const [name, text] of Object.entries(found)) {
      const place = $(`${name}-problem`) ?? $("message-problem");
      place.textContent = text;
      $(name)?.setAttribute("aria-invalid", "true");
      $(name)?.setAttribute("aria-describedby", `${name}-problem`);
    }
  }

  clear() {
    for (const place of document.querySelectorAll(".problem")) place.textContent = "";
    for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  }
}
