"""The lessons' networks and their training in PyTorch and in JAX, as the tutorials of those write them.

speed.py, gan.py and regressor.py time them beside the lessons, where they are installed: pip install torch jax flax
optax. Layers, losses, optimizers, rates and batch sizes are the lessons', the first weights each library's own. Three
things differ: PyTorch's recurrent layers have a second bias, the peers' dropout draws a mask for each row of an image
where Keras's recurrent layers have one for all rows, and the peers count no accuracy while they train. The last 96 of
60,000 images do not fill a batch of 128 and are left out: a compiled step would be compiled again for them.
"""

import functools
import importlib.util
import time

import numpy as np

BATCH_SIZE = 128
SHAPES = {"mlp": (784,), "cnn": (28, 28, 1), "rnn": (28, 28), "lstm": (28, 28), "gru": (28, 28)}
RATE, LEAK = 2e-4, 0.01  # of the GAN: the listing's learning rate, and the slope of LeakyReLU


def pixels(images, network):
    """Return the images (count, 28, 28) as float32 numbers from 0 to 1, in the shape that the network reads."""
    return images.reshape(-1, *SHAPES[network]).astype("float32") / 255


def epochs_of(train, digits, network, epochs, seed):
    """Call `train(x, y)` for each batch; return the seconds up to the first update, and all of them.

    What `train` returns is waited for after the first update and after the last by float().
    """
    x = pixels(digits.x_train, network)
    y, rng = digits.y_train.astype("int32"), np.random.default_rng(seed)
    started, first = time.perf_counter(), None
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - BATCH_SIZE + 1, BATCH_SIZE):
            chosen = order[start : start + BATCH_SIZE]
            loss = train(x[chosen], y[chosen])
            if first is None:
                float(loss)
                first = time.perf_counter() - started
    float(loss)
    return first, time.perf_counter() - started


def torch_classifier(network, digits, epochs, seed, compiled=False):
    """Train in PyTorch; return the seconds up to the first update, all of them, and the test accuracy."""
    import torch
    from torch import nn

    class Recurrent(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.drop, self.rnn, self.out = nn.Dropout(0.2), kind(28, 256, batch_first=True), nn.Linear(256, 10)

        def forward(self, x):
            return self.out(self.rnn(self.drop(x))[0][:, -1])

    torch.manual_seed(seed)
    if network == "mlp":
        model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.45), nn.Linear(256, 256), nn.ReLU(),
                              nn.Dropout(0.45), nn.Linear(256, 10))
    elif network == "cnn":
        model = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(),
                              nn.MaxPool2d(2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
                              nn.Linear(576, 10))
    else:
        model = Recurrent({"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[network])
    adam = network in ("mlp", "cnn")
    optimizer = torch.optim.Adam(model.parameters(), 0.001) if adam else torch.optim.SGD(model.parameters(), 0.01)
    loss, forward = nn.CrossEntropyLoss(), torch.compile(model) if compiled else model

    def tensor(x):
        return torch.from_numpy(x).movedim(3, 1) if network == "cnn" else torch.from_numpy(x)  # channels come first

    def train(x, y):
        optimizer.zero_grad()
        value = loss(forward(tensor(x)), torch.from_numpy(y).long())
        value.backward()
        optimizer.step()
        return value.detach()

    seconds = epochs_of(train, digits, network, epochs, seed)
    model.eval()
    with torch.no_grad():
        answers = model(tensor(pixels(digits.x_test, network))).argmax(1).numpy()
    return *seconds, float(np.mean(answers == digits.y_test))


def jax_classifier(network, digits, epochs, seed):
    """Train in JAX, by one jitted step; return the seconds up to the first update, all, and the test accuracy."""
    import jax
    import optax
    from flax import linen as nn

    class Network(nn.Module):
        train: bool

        @nn.compact
        def __call__(self, x):
            def drop(rate, x):
                return nn.Dropout(rate, deterministic=not self.train)(x)

            if network == "mlp":
                for _ in range(2):
                    x = drop(0.45, nn.relu(nn.Dense(256)(x)))
            elif network == "cnn":
                for _ in range(2):
                    x = nn.max_pool(nn.relu(nn.Conv(64, (3, 3), padding="VALID")(x)), (2, 2), (2, 2))
                x = drop(0.2, nn.relu(nn.Conv(64, (3, 3), padding="VALID")(x)).reshape(len(x), -1))
            else:
                cell = {"rnn": nn.SimpleCell, "lstm": nn.OptimizedLSTMCell, "gru": nn.GRUCell}[network]
                x = nn.RNN(cell(256))(drop(0.2, x))[:, -1]
            return nn.Dense(10)(x)

    key = jax.random.key(seed)
    weights = Network(train=False).init(key, np.zeros((1, *SHAPES[network]), "float32"))
    optimizer = optax.adam(0.001) if network in ("mlp", "cnn") else optax.sgd(0.01)
    state = optimizer.init(weights)

    @jax.jit
    def step(weights, state, key, x, y):
        key, drop = jax.random.split(key)

        def loss(weights):
            logits = Network(train=True).apply(weights, x, rngs={"dropout": drop})
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        value, gradient = jax.value_and_grad(loss)(weights)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(weights, updates), state, key, value

    def train(x, y):
        nonlocal weights, state, key
        weights, state, key, value = step(weights, state, key, x, y)
        return value

    seconds = epochs_of(train, digits, network, epochs, seed)
    answer = jax.jit(Network(train=False).apply)
    answers = np.argmax(answer(weights, pixels(digits.x_test, network)), axis=1)
    return *seconds, float(np.mean(answers == digits.y_test))


def torch_gan(x_train):
    """Return a function that takes `steps` steps of gan_mnist.py's dense pair, and the discriminator's weights."""
    from gan_mnist import LATENT_DIM

    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(LATENT_DIM, 128), nn.LeakyReLU(LEAK), nn.Linear(128, 784), nn.Tanh())
    discriminator = nn.Sequential(nn.Linear(784, 128), nn.LeakyReLU(LEAK), nn.Linear(128, 1))
    networks = generator, discriminator
    optimizers = [torch.optim.Adam(network.parameters(), RATE, (0.5, 0.999)) for network in networks]
    images = torch.from_numpy(x_train.reshape(-1, 784))
    one, zero = torch.ones(BATCH_SIZE, 1), torch.zeros(BATCH_SIZE, 1)

    def train(steps):
        for _ in range(steps):
            real = images[torch.randint(len(images), (BATCH_SIZE,))].requires_grad_()
            real_logits = discriminator(real)
            fake_logits = discriminator(generator(torch.randn(BATCH_SIZE, LATENT_DIM)))
            (slope,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
            d_loss = cross_entropy(real_logits, one) / 2 + cross_entropy(fake_logits, zero) / 2
            losses = cross_entropy(fake_logits, one), d_loss + slope.square().sum(1).mean() / 2
            for network, loss in zip(networks, losses, strict=True):
                weights = list(network.parameters())
                gradients = torch.autograd.grad(loss, weights, retain_graph=True)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.grad = gradient
            for optimizer in optimizers:
                optimizer.step()

    return train, lambda: [weight.detach().numpy().copy() for weight in discriminator.parameters()]


def jax_gan(x_train):
    """Return what `torch_gan` returns."""
    from gan_mnist import LATENT_DIM

    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    generator = nn.Sequential([nn.Dense(128), functools.partial(nn.leaky_relu, negative_slope=LEAK), nn.Dense(784),
                               jnp.tanh])
    discriminator = nn.Sequential([nn.Dense(128), functools.partial(nn.leaky_relu, negative_slope=LEAK), nn.Dense(1)])
    optimizer, key = optax.adam(RATE, 0.5), jax.random.key(0)
    weights = {"g": generator.init(key, jnp.zeros((1, LATENT_DIM))), "d": discriminator.init(key, jnp.zeros((1, 784)))}
    state = {name: optimizer.init(part) for name, part in weights.items()}
    images = jnp.asarray(x_train.reshape(-1, 784))

    def cross_entropy(logits, target):
        return optax.sigmoid_binary_cross_entropy(logits, target).mean()

    @jax.jit
    def step(weights, state, key):
        key, rows, noise = jax.random.split(key, 3)
        real = images[jax.random.randint(rows, (BATCH_SIZE,), 0, len(images))]
        noise = jax.random.normal(noise, (BATCH_SIZE, LATENT_DIM))

        def logits(g, d):
            return discriminator.apply(d, generator.apply(g, noise))

        def d_loss(d):
            real_logits, back = jax.vjp(lambda x: discriminator.apply(d, x), real)
            (slope,) = back(jnp.ones_like(real_logits))
            loss = cross_entropy(real_logits, jnp.ones_like(real_logits)) / 2
            loss += cross_entropy(logits(weights["g"], d), jnp.zeros_like(real_logits)) / 2
            return loss + jnp.square(slope).sum(1).mean() / 2

        def g_loss(g):
            fake_logits = logits(g, weights["d"])
            return cross_entropy(fake_logits, jnp.ones_like(fake_logits))

        new = {}
        for name, gradient in (("g", jax.grad(g_loss)(weights["g"])), ("d", jax.grad(d_loss)(weights["d"]))):
            updates, state[name] = optimizer.update(gradient, state[name])
            new[name] = optax.apply_updates(weights[name], updates)
        return new, state, key

    def train(steps):
        nonlocal weights, state, key
        for _ in range(steps):
            weights, state, key = step(weights, state, key)
        jax.block_until_ready(weights)

    return train, lambda: [np.array(weight) for weight in jax.tree.leaves(weights["d"])]


def torch_regressor(x):
    """Train lstm_regressor.py's network on windows (steps, 50, 20); return the cost of every batch."""
    from lstm_regressor import CLIP_NORM, LEARNING_RATE, UNITS

    import torch
    from torch import nn

    class Regressor(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(1, UNITS, batch_first=True), nn.Linear(UNITS, 1)

        def forward(self, x, state):
            output, state = self.lstm(x, state)
            return self.out(output), state

    model = Regressor()
    optimizer, costs = torch.optim.Adam(model.parameters(), LEARNING_RATE), []
    state = (torch.zeros(1, x.shape[1], UNITS),) * 2
    for batch in torch.from_numpy(x.astype("float32"))[..., None]:
        optimizer.zero_grad()
        prediction, state = model(torch.sin(batch), state)
        cost = nn.functional.mse_loss(prediction, torch.cos(batch))
        cost.backward()
        for weight in model.parameters():
            nn.utils.clip_grad_norm_(weight, CLIP_NORM)
        optimizer.step()
        state = tuple(part.detach() for part in state)
        costs.append(cost.item())
        prediction.detach().numpy()
    return costs


def jax_regressor(x):
    """Do as `torch_regressor` does."""
    from lstm_regressor import CLIP_NORM, LEARNING_RATE, UNITS

    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn

    class Regressor(nn.Module):
        @nn.compact
        def __call__(self, x, state):
            state, output = nn.RNN(nn.OptimizedLSTMCell(UNITS), return_carry=True)(x, initial_carry=state)
            return nn.Dense(1)(output), state

    model, optimizer, costs = Regressor(), optax.adam(LEARNING_RATE), []
    state = (jnp.zeros((x.shape[1], UNITS)),) * 2
    weights = model.init(jax.random.key(0), jnp.zeros((*x.shape[1:], 1)), state)
    moments = optimizer.init(weights)

    @jax.jit
    def step(weights, moments, state, x):
        def loss(weights):
            prediction, last = model.apply(weights, jnp.sin(x), state)
            return jnp.square(prediction - jnp.cos(x)).mean(), (prediction, last)

        (cost, (prediction, last)), gradient = jax.value_and_grad(loss, has_aux=True)(weights)
        gradient = jax.tree.map(lambda g: g / jnp.maximum(1.0, jnp.linalg.norm(g.ravel()) / CLIP_NORM), gradient)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(weights, updates), moments, last, cost, prediction

    for batch in x.astype("float32")[..., None]:
        weights, moments, state, cost, prediction = step(weights, moments, state, batch)
        costs.append(float(cost))
        np.asarray(prediction)
    return costs


# torch.compile leaves nn.RNN, nn.LSTM and nn.GRU as they are, and supports no gradient of a gradient.
CLASSIFIERS = {  # {name: (package, function)}
    "torch": ("torch", torch_classifier),
    "torch compiled": ("torch", functools.partial(torch_classifier, compiled=True)),
    "jax": ("flax", jax_classifier),
}
RECURRENT = {name: kind for name, kind in CLASSIFIERS.items() if name != "torch compiled"}
GANS = {"torch": ("torch", torch_gan), "jax": ("flax", jax_gan)}
REGRESSORS = {"torch": ("torch", torch_regressor), "jax": ("flax", jax_regressor)}


def installed(kinds):
    """Return {name: function} of the entries of `kinds` whose package is installed."""
    return {name: kind for name, (package, kind) in kinds.items() if importlib.util.find_spec(package)}
