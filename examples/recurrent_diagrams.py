"""Diagrams of recurrent networks: unrolled in time, of two directions, back-propagation through time, LSTM.

Beside the arrows stand the numbers of networks of one unit: values blue, gradients red.
"""

# %%
import experiment
import numpy as np
from experiment import BLUE, GRADIENT, GREEN, GREY, INK, ORANGE, PALE, VALUE, arrow, box, canvas, circle, number

import fastnn

experiment.settings(__doc__)

# %% [markdown]
# ## Unrolled in time
# A network of one unit reads four numbers. What is drawn four times is one network: its weights are the same at every
# step.

# %%
x = np.array([1.0, 0.0, -1.0, 0.5]).reshape(4, 1, 1)
w_ih, w_hh, w_hy = np.array([[[1.0]], [[0.5]], [[2.0]]])
start = np.zeros((1, 1))
h, last, cache = fastnn.rnn_forward(x, start, w_ih, w_hh)
y = h @ w_hy.T
print("states           ", *map(number, h.ravel()))
print("outputs          ", *map(number, y.ravel()))

ax = canvas(
    9.2,
    3.5,
    r"$h_t=\tanh(W_{ih}\,x_t+W_{hh}\,h_{t-1})$,    $y_t=W_{hy}\,h_t$,    here $W_{ih}=1$, $W_{hh}=0.5$, $W_{hy}=2$",
)
steps = [3.4, 5, 6.6, 8.2]
for t, place in zip(["t", *range(1, 5)], [0.9, *steps], strict=True):
    circle(ax, place, 0.5, f"$x_{t}$")
    box(ax, place, 1.45, f"$h_{t}$")
    circle(ax, place, 2.4, f"$y_{t}$", face=GREEN)
arrow(ax, (0.9, 0.72), (0.9, 1.2), gradient="$W_{ih}$", ink=INK)
arrow(ax, (0.9, 1.7), (0.9, 2.18), gradient="$W_{hy}$", ink=INK)
arrow(ax, (1.28, 1.58), (1.62, 1.58), (1.62, 1.32), (1.28, 1.32))
ax.text(1.68, 1.45, "$W_{hh}$", va="center", fontsize="small", color=INK)
ax.text(2.3, 1.45, "=", ha="center", va="center", fontsize="xx-large", color=INK)
arrow(ax, (2.75, 1.45), (3.02, 1.45), value="0", at=0.2)
for t, place in enumerate(steps):
    arrow(ax, (place, 0.72), (place, 1.2), value=number(x[t].item()))
    arrow(ax, (place, 1.7), (place, 2.18), value=number(h[t].item()))
    arrow(ax, (place + 0.38, 1.45), (place + (1.22 if t < 3 else 0.75), 1.45), value=number(h[t].item()))
    ax.text(place, 2.68, number(y[t].item()), ha="center", color=VALUE, fontsize="small")
ax.figure.savefig("rnn_unrolled.png")

# %% [markdown]
# ## Two directions
# A second network, here with the same weights, reads the sequence from its end. What is known about a place at last has
# seen what comes before it and what comes after.

# %%
backwards, first, _ = fastnn.rnn_forward(x, start, w_ih, w_hh, reverse=True)
print("from the end     ", *map(number, backwards.ravel()))

ax = canvas(8.6, 4.4, r"$y_t=[\overrightarrow{h}_t;\,\overleftarrow{h}_t]$")
steps = [1.5, 3.4, 5.3, 7.2]
for t, place in enumerate(steps):
    left, right, ahead, behind = place - 0.4, place + 0.4, number(h[t].item()), number(backwards[t].item())
    arrow(ax, (place - 0.05, 0.72), (left + 0.05, 1.25), value=number(x[t].item()), at=0.45)
    arrow(ax, (place + 0.05, 0.72), (right - 0.05, 2.15))
    arrow(ax, (left + 0.05, 1.75), (place - 0.05, 3.12))
    arrow(ax, (right - 0.05, 2.65), (place + 0.05, 3.12))
    arrow(ax, (left + 0.33, 1.5), (left + 1.57, 1.5), value=ahead, at=0.6)
    arrow(ax, (right - 0.33, 2.4), (right - 1.57, 2.4), gradient=behind, at=0.6, ink=VALUE)
    circle(ax, place, 0.5, f"$x_{t + 1}$")
    box(ax, left, 1.5, rf"$\overrightarrow{{h}}_{t + 1}$", 0.62)
    box(ax, right, 2.4, rf"$\overleftarrow{{h}}_{t + 1}$", 0.62, face=ORANGE)
    circle(ax, place, 3.34, f"$y_{t + 1}$", face=GREEN)
    ax.text(place, 3.65, f"[{ahead}; {behind}]", ha="center", color=VALUE, fontsize="small")
arrow(ax, (0.3, 1.5), (0.77, 1.5), value="0", at=0.2)
arrow(ax, (8.35, 2.4), (7.93, 2.4), gradient="0", at=0.2, ink=VALUE)
ax.figure.savefig("rnn_two_directions.png")

# %% [markdown]
# ## Back-propagation through time
# Each step has a loss, and its gradient goes back to all steps before. A state gets two gradients, from the loss of its
# own step and from the state after it, which are added. Each step has its share in the gradient of the one matrix.

# %%
targets = np.array([0.5, 0.5, 0.0, 0.5]).reshape(4, 1, 1)
loss, dh = fastnn.mse_loss(h, targets, reduction="sum")
whole = fastnn.rnn_backward(dh, None, cache)

states = [start, *h]
caches = [fastnn.rnn_step_forward(x[t], states[t], w_ih, w_hh)[1] for t in range(4)]
later, shares = [None] * 4 + [0 * start], [None] * 4
for t in reversed(range(4)):
    gradients = fastnn.rnn_step_backward(dh[t] + later[t + 1], caches[t])
    shares[t], later[t] = gradients["w_hh"], gradients["h"]
difference = abs(sum(shares) - whole["w_hh"]).max()
print("shares in dL/dW  ", *(number(share.item()) for share in shares))
print("their sum        ", number(sum(shares).item()), f"(rnn_backward differs by {difference:.0e})")

formula = r"L=\sum_t L_t=\sum_t(h_t-\mathrm{target}_t)^2"
ax = canvas(9.4, 4.6, f"${formula}=${number(loss)}: values (blue) and gradients (red)")
steps = [1.9, 3.8, 5.7, 7.6]
back = {"color": GRADIENT, "ink": GRADIENT}
for t, place in enumerate(steps):
    circle(ax, place, 1.15, f"$x_{t + 1}$")
    box(ax, place, 2.25, f"$h_{t + 1}$")
    box(ax, place, 3.4, f"$L_{t + 1}$", 0.6, 0.44, face=GREEN)
    ax.text(place, 3.72, number((h[t] - targets[t]).item() ** 2), ha="center", color=VALUE, fontsize="small")
    arrow(ax, (place - 0.08, 1.34), (place - 0.08, 2.01), value=number(x[t].item()))
    arrow(ax, (place - 0.08, 2.49), (place - 0.08, 3.17), value=number(h[t].item()))
    arrow(ax, (place + 0.08, 3.17), (place + 0.08, 2.49), value=number(dh[t].item()), **back)
    arrow(ax, (place + 0.08, 2.01), (place + 0.08, 1.34), value=number(whole["x"][t].item()), **back)
    if t < 3:
        arrow(ax, (place + 0.37, 2.33), (place + 1.53, 2.33), value=number(h[t].item()))
        arrow(ax, (place + 1.53, 2.17), (place + 0.37, 2.17), value=number(later[t + 1].item()), **back)
    ax.text(place, 0.4, number(shares[t].item()), ha="center", color=GRADIENT)
    ax.text(place + 0.95, 0.4, "+" if t < 3 else "=", ha="center", color=GRADIENT)
arrow(ax, (1.05, 2.25), (1.53, 2.25), value="0", at=0.3)
ax.text(0.75, 0.4, r"$\partial L/\partial W_{hh}=$", ha="center", color=GRADIENT)
ax.text(9.0, 0.4, number(sum(shares).item()), ha="center", color=GRADIENT)
ax.figure.savefig("rnn_back_through_time.png")

# %% [markdown]
# ## The cell of an LSTM
# Four small layers see the input and the state before. Three of them are gates, numbers between 0 and 1 that say how
# much of the cell is kept, how much of the candidate is taken in, and how much of the cell is shown.

# %%
x_t, h_before, c_before = 1.0, 0.5, 0.8
w_ih, w_hh = np.array([[0.4], [1.0], [0.8], [0.2]]), np.array([[0.6], [0.5], [-1.0], [0.6]])
pre = (w_ih * x_t + w_hh * h_before).ravel()
i, f, o = fastnn.sigmoid(pre[[0, 1, 3]])
g = np.tanh(pre[2])
kept, taken = f * c_before, i * g
c_t = kept + taken
shown = np.tanh(c_t)
h_t = o * shown
stepped = fastnn.lstm_step([[x_t]], [[h_before]], [[c_before]], w_ih, w_hh)
lstm_difference = abs(np.ravel(stepped) - [h_t, c_t]).max()
print(f"LSTM              h {number(h_t)}, c {number(c_t)} (lstm_step differs by {lstm_difference:.0e})")

ax = canvas(9.4, 4.8, r"$c_t=f\odot c_{t-1}+i\odot g$,    $h_t=o\odot\tanh(c_t)$")
box(ax, 4.75, 2.35, "", 7.1, 3.3, face=GREY, edge="0.75", layer=0)
top, gates, join, low = 3.55, 1.75, 2.65, 1.05
at = {"f": 2.4, "i": 3.5, "g": 4.6, "o": 5.8}
end = 7.0
arrow(ax, (0.55, top), (2.22, top), value=number(c_before), at=0.25)
arrow(ax, (2.58, top), (4.42, top), value=number(kept))
arrow(ax, (4.78, top), (8.85, top), value=number(c_t), at=0.28)
arrow(ax, (0.55, low), (5.8, low), (5.8, 1.51))
ax.plot([1.75, 1.75], [0.45, low], color=PALE, linewidth=1.2, zorder=1)
for name in "fig":
    arrow(ax, (at[name], low), (at[name], 1.51))
arrow(ax, (at["f"], 1.99), (at["f"], top - 0.18), value=f"$f$ = {number(f)}", ink=VALUE)
arrow(ax, (at["i"], 1.99), (at["i"], join), (4.42, join))
arrow(ax, (at["g"], 1.99), (at["g"], join - 0.18))
arrow(ax, (at["g"], join + 0.18), (at["g"], top - 0.18), gradient=number(taken), ink=VALUE)
arrow(ax, (at["o"], 1.99), (at["o"], 2.25), (end - 0.18, 2.25))
arrow(ax, (end, top), (end, 3.18))
arrow(ax, (end, 2.77), (end, 2.43), gradient=number(shown), ink=VALUE)
arrow(ax, (end, 2.07), (end, low), (8.85, low), value=number(h_t), at=0.45)
look = {"color": VALUE, "fontsize": "small"}
ax.text(at["i"] - 0.08, 2.3, f"$i$ = {number(i)}", ha="right", **look)
ax.text(at["g"] + 0.08, 2.2, f"$g$ = {number(g)}", **look)
ax.text(at["o"] + 0.1, 2.32, f"$o$ = {number(o)}", **look)
ax.text(0.93, low + 0.06, number(h_before), ha="center", **look)
ax.text(1.83, 0.5, number(x_t), **look)
for (name, place), role in zip(at.items(), ["forget", "input", "candidate", "output"], strict=True):
    box(ax, place, gates, r"$\tanh$" if name == "g" else r"$\sigma$", 0.62, face=ORANGE if name == "g" else BLUE)
    ax.text(place + 0.07, 1.27, role, va="center", color=INK, fontsize="small")
box(ax, end, 2.97, r"$\tanh$", 0.62, 0.4, face="white")
for place, height, sign in (2.4, top, "×"), (4.6, top, "+"), (4.6, join, "×"), (end, 2.25, "×"):
    circle(ax, place, height, sign, 0.17)
for height, name in (top, "c"), (low, "h"):
    ax.text(0.3, height, f"${name}_{{t-1}}$", ha="center", va="center")
    ax.text(9.1, height, f"${name}_t$", ha="center", va="center")
ax.text(1.75, 0.27, "$x_t$", ha="center", va="center")
ax.figure.savefig("lstm_cell.png")
