"""Layers made of layers: Sequential and Residual."""

import numpy as np

from fastnn.nn.module import Module, complaint

__all__ = ["Residual", "Sequential"]


class Sequential(Module):
    """Layers one after the other.

    Of a recurrent layer, which returns (y, state), the next one gets y; `lengths` goes to the layers that take it.
    Indexing and iterating give the layers. Training asks nothing of the gradient of the inputs: with
    `vjp(x, need_dx=False)` a first layer that can, such as Linear, saves that product, and `back` returns None.

    Examples
    --------
    >>> from fastnn import nn
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.Activation("relu"), nn.Linear(32, 10))
    >>> net
    Sequential(
      (0): Linear(in_features=64, out_features=32)
      (1): Activation('relu')
      (2): Linear(in_features=32, out_features=10)
    )
    >>> list(net.state_dict())
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    skips_dx = True

    def __init__(self, *layers):
        for i, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"layer {i} is {layer!r}, expected a Module")
        self.layers = layers
        self.takes_lengths = any(layer.takes_lengths for layer in layers)
        self._plain = not any(layer.takes_lengths or layer.returns_state for layer in layers)

    def _members(self):
        return ((str(i), layer) for i, layer in enumerate(self.layers))

    def config(self):
        return {"layers": self.layers}

    @classmethod
    def from_config(cls, config):
        return cls(*config["layers"])

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def __getitem__(self, index):
        return type(self)(*self.layers[index]) if isinstance(index, slice) else self.layers[index]

    def _keywords(self, lengths):
        """Return the keywords for the layers that take lengths."""
        if lengths is not None and not self.takes_lengths:
            raise ValueError("lengths were given, but no layer takes them")
        return {"lengths": lengths}

    def __call__(self, x, *, lengths=None):
        if self._plain and lengths is None:
            for layer in self.layers:
                x = layer(x)
            return x
        given = self._keywords(lengths)
        for layer in self.layers:
            x = layer(x, **given) if layer.takes_lengths else layer(x)
            if layer.returns_state:
                x = x[0]
        return x

    def vjp(self, x, *, lengths=None, training=True, need_dx=True):
        given = self._keywords(lengths)
        pullbacks = []
        for layer in self.layers:
            if layer.takes_lengths:
                x, back = layer.vjp(x, training=training, **given)
            elif not (need_dx or pullbacks) and layer.skips_dx:
                x, back = layer.vjp(x, training=training, need_dx=False)
            else:
                x, back = layer.vjp(x, training=training)
            if layer.returns_state:
                x, back = x[0], lambda dy, pull=back: pull(dy)[0]
            pullbacks.append(back)
        pullbacks.reverse()

        def back(dy):
            for pull in pullbacks:
                dy = pull(dy)
            return dy if need_dx else None

        return x, back


class Residual(Module):
    """y = x + f(x), for a layer f whose outputs have the shape of its inputs.

    Of a recurrent layer, which returns (y, state), y counts; `lengths` goes to a layer that takes it.

    Parameters
    ----------
    layer : Module

    Notes
    -----
    He et al. (2015), "Deep residual learning for image recognition".

    Examples
    --------
    >>> from fastnn import nn
    >>> block = Residual(nn.Sequential(nn.Linear(3, 8, rng=0), nn.Activation("relu"), nn.Linear(8, 3, rng=1)))
    >>> x = np.ones((2, 3), np.float32)
    >>> bool((block(x) == x + block.layer(x)).all())
    True
    >>> list(block.state_dict())
    ['layer.0.weight', 'layer.0.bias', 'layer.2.weight', 'layer.2.bias']
    """

    def __init__(self, layer):
        if not isinstance(layer, Module):
            raise TypeError(f"layer is {layer!r}, expected a Module")
        self.layer = layer
        self.takes_lengths = layer.takes_lengths

    def __call__(self, x, **lengths):
        y = self.layer(x, **lengths)
        return self._sum(x, y[0] if self.layer.returns_state else y)

    def vjp(self, x, *, training=True, **lengths):
        y, pull = self.layer.vjp(x, training=training, **lengths)
        returns_state = self.layer.returns_state

        def back(dy):
            dx = pull(dy)[0] if returns_state else pull(dy)
            return None if dx is None else dx + dy

        return self._sum(x, y[0] if returns_state else y), back

    def _sum(self, x, y):
        x = np.asarray(x)
        if x.shape != y.shape:
            raise complaint(self, f"the layer turned {x.shape} into {y.shape}, expected the same shape")
        return x.astype(y.dtype, copy=False) + y
