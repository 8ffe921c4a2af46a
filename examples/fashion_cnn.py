"""Fashion-MNIST with a convolutional network of fewer than 100,000 parameters.

Three times convolution, batch normalization, ReLU and pooling, then two linear layers; images are mirrored and shifted
at random. Epochs are chosen on 5,000 held-out training images, and each seed scores the test once.
"""

# %%
from experiment import settings
from fashion import CLASSES, convolutions, experiment
from matplotlib import pyplot as plt

from fastnn import nn, plot

size = settings(__doc__, epochs=(40, 1), seeds=(3, 1), batch=(128, 50))


def build(rng):
    return nn.Sequential(
        convolutions(rng),
        nn.Dropout(0.2, rng=rng),
        nn.Linear(576, 100, rng=rng),
        nn.Activation("relu"),
        nn.Linear(100, 10, rng=rng),
    )


# %%
scores, median, labels = experiment(build, size, rate=4e-3, shift=1)

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
curves = {"training": median.history.column("loss"), "held out": median.history.column("validation_loss")}
plot.losses(curves, ax=left)
plot.confusion_matrix(labels, median.predictions, CLASSES, ax=right)
right.set_title(f"test: {median.score:.2%} right")
figure.savefig("fashion_cnn.png")
