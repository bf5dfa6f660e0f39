// Five steps for a first visit: each is a setting, and what to look at.

const $ = (id) => document.getElementById(id);
const STEPS = [
  ["1 of 5: one neuron, a line", "Without hidden layers the network is one neuron: it adds its inputs, each times a weight. All that it can draw is a straight border. Press Run: two clouds, one line, and it is done.",
    { data: "gaussians", hidden_layer_sizes: [], noise: 0.1 }],
  ["2 of 5: a hidden layer bends the plane", "No line parts an inner circle from an outer one. With four hidden units there are four lines, and the output combines them. Press Run, and look at the small pictures: what each unit sees.",
    { data: "circles", hidden_layer_sizes: [4] }],
  ["3 of 5: a learning rate too high", "Each step now goes much too far. The loss jumps up and down and the border flickers. Press Run, then set the learning rate to 0.01 and run again.",
    { data: "moons", hidden_layer_sizes: [6], solver: "sgd", learning_rate_init: 3, activation: "tanh" }],
  ["4 of 5: dead units", "A relu passes nothing on that is below zero. Steps that are too large push units there for every sample: no gradient reaches them any more, and they stay. Those are crossed out. Try leaky relatives such as elu or gelu instead.",
    { data: "moons", hidden_layer_sizes: [10, 10], activation: "relu", solver: "sgd", learning_rate_init: 0.8 }],
  ["5 of 5: overfitting, and what stops it", "Few samples, much noise, a large network: it learns the noise by heart. The loss on what it trains on falls while that on held-out data rises. Set alpha to 0.1, or dropout to 0.3, and run again.",
    { data: "moons", n_samples: 60, noise: 0.35, hidden_layer_sizes: [32, 32], activation: "relu", learning_rate_init: 0.01 }],
];
const PLAIN = { n_samples: 300, noise: 0.1, test_size: 0.5, seed: 0, activation: "tanh", solver: "adam", learning_rate_init: 0.03, batch_size: 10, alpha: 0, dropout: 0, normalization: "none" };

export function makeTour(use) {
  let number = 0;
  const show = () => {
    const [title, explanation, settings] = STEPS[number];
    $("tour").hidden = false;
    $("tour-title").textContent = title;
    $("tour-text").textContent = explanation;
    $("tour-back").disabled = number === 0;
    $("tour-next").textContent = number + 1 < STEPS.length ? "Next" : "Done";
    use({ ...PLAIN, ...settings });
    $("tour-title").focus();
  };
  const end = () => {
    $("tour").hidden = true;
    $("tour-start").focus();
  };
  $("tour-start").onclick = () => { number = 0; show(); };
  $("tour-back").onclick = () => { number -= 1; show(); };
  $("tour-next").onclick = () => { number += 1; if (number < STEPS.length) show(); else end(); };
  $("tour-end").onclick = end;
}
