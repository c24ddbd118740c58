"""The table of slips, continued: averages, whole tensors, and what is around an optimizer."""

SLIPS: dict[str, list[tuple[str, str, str]]] = {}

SLIPS["ASGD.rule"] = [
    ("t counted from 1", "lambd * lr * (t - 1)", "lambd * lr * t"),
    ("lr not in its own decay", "lambd * lr * (t - 1)", "lambd * (t - 1)"),
    ("no power", "** alpha", "** (0 * alpha + 1)"),
    ("no decay of w", "(1 - lambd * eta)", "(1 - 0 * eta)"),
    ("averages from the start", "max(1, t - 1 - t0)", "max(1, t - 1 - 0 * t0)"),
    ("averages a step early", "t - 1 - t0", "t - t0"),
    ("the average of the weights from before", """w = (1 - lambd * eta) * w - eta * g
        ax = ax + (w - ax) / max(1, t - 1 - t0)""", """ax = ax + (w - ax) / max(1, t - 1 - t0)
        w = (1 - lambd * eta) * w - eta * g"""),
    ("lr for eta in the decay", "lambd * eta", "lambd * lr"),
    ("the average is moved to", "return w", "w = ax\n        return w"),
]  # fmt: skip
SLIPS["ASGD.averaged"] = [("the mean is not the mean", 'flat.slots["ax"]', "flat.w.copy()")]
SLIPS["ScheduleFree.sgd"] = [
    ("the rate itself for its square", "lr_max**2", "lr_max"),
    ("the rate of now for the largest", "max(lr_max, lr)", "lr + 0 * lr_max"),
    ("x and z swapped in x", "(1 - c) * x + c * z", "c * x + (1 - c) * z"),
    ("x and z swapped in y", "(1 - beta) * z + beta * x\n", "beta * z + (1 - beta) * x\n"),
    ("decay at z", "weight_decay * w", "weight_decay * z"),
    ("decay at x", "weight_decay * w", "weight_decay * x"),
    ("z from before", """z = z - lr * (g + weight_decay * w)
        x = (1 - c) * x + c * z""", """x = (1 - c) * x + c * z
        z = z - lr * (g + weight_decay * w)"""),
    ("x read from the new z", """x = (w - (1 - beta_old) * z) / beta_old
        z = z - lr * (g + weight_decay * w)""", """z = z - lr * (g + weight_decay * w)
        x = (w - (1 - beta_old) * z) / beta_old"""),
    ("x read back with the β of now", "(w - (1 - beta_old) * z) / beta_old",
     "(w - (1 - beta) * z) / beta + 0 * beta_old"),
    ("weights are not summed", "weight_sum + lr_max**2", "lr_max**2 + 0 * weight_sum"),
    ("z moves uphill", "z - lr", "z + lr"),
    ("y is z", "w = (1 - beta) * z + beta * x", "w = z + 0 * x"),
]  # fmt: skip
SLIPS["ScheduleFree.adamw"] = [
    ("no correction", "v / (1 - beta2**t)", "v + 0 * t"),
    ("v from before", "v_hat = v /", "v_hat = (v - (1 - beta2) * g**2) /"),
    ("decay divided away", "(g / (np.sqrt(v_hat) + eps) + weight_decay * w)",
     "((g + weight_decay * w) / (np.sqrt(v_hat) + eps))"),
    ("eps inside the root", "(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)"),
    ("the rate of now for the largest", "max(lr_max, lr)", "lr + 0 * lr_max"),
    ("decay at z", "weight_decay * w", "weight_decay * z"),
]  # fmt: skip
SLIPS["ScheduleFree.average"] = [
    ("beta forgotten", "(w - (1 - beta) * z) / beta", "w + 0 * beta * z"),
    ("z for y", "(w - (1 - beta) * z) / beta", "z + 0 * beta * w"),
]
SLIPS["ScheduleFree._gradients"] = [("z starts at 0", "[...] = flat.w", "[...] = 0 * flat.w")]
SLIPS["ScheduleFree._average"] = [("the coming β", 'self._carried[flat.group]["beta_old"]',
                                   'self._scalars(self.groups[flat.group])["beta"]')]  # fmt: skip
SLIPS["LARS.rule"] = [
    ("lr outside v", "lr * local * (g + weight_decay * w)\n        w = w - v",
     "local * (g + weight_decay * w)\n        w = w - lr * v"),
    ("no decay in the denominator", "norm(g) + weight_decay * norm(w)", "norm(g)"),
    ("the norm of the sum", "norm(g) + weight_decay * norm(w)", "norm(g + weight_decay * w)"),
    ("no decay in the step", "(g + weight_decay * w)", "g"),
    ("update order swapped", """v = mu * v + lr * local * (g + weight_decay * w)
        w = w - v""", """w = w - v
        v = mu * v + lr * local * (g + weight_decay * w)"""),
    ("the ratio scales what is remembered", "mu * v + lr * local", "local * mu * v + lr * local"),
    ("no trust", "eta * trust(w, norm(g) + weight_decay * norm(w))", "eta"),
    ("the ratio upside down", "trust(w, norm(g) + weight_decay * norm(w))",
     "trust(g + weight_decay * w, norm(w))"),
    ("eta squared", "eta * trust", "eta**2 * trust"),
    ("v forgotten", "return w", "v = 0 * v\n        return w"),
]  # fmt: skip
SLIPS["LARS."] = [("0 where a norm is 0", "eta * trust(w,", "eta * float(norm(w) > 0) * trust(w,")]
SLIPS["LAMB.rule"] = [
    ("no trust", "trust(w, norm(u)) * u", "u"),
    ("decay outside of the ratio", "norm(u)", "norm(u - weight_decay * w)"),
    ("decay before, as Keras", "+ weight_decay * w\n        w = w -",
     "\n        w = w - lr * weight_decay * w -"),
    ("no correction of m", "m / (1 - beta1**t)", "m + 0 * t"),
    ("no correction of v", "v / (1 - beta2**t)", "v + 0 * t"),
    ("the ratio upside down", "trust(w, norm(u))", "trust(u, norm(w))"),
    ("the norm of g", "norm(u)", "norm(g)"),
    ("eps inside the root", "(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)"),
    ("the square of the ratio", "trust(w, norm(u))", "trust(w, norm(u)) ** 2"),
]  # fmt: skip
SLIPS["Adafactor.matrix"] = [
    ("lr without its bound", "min(lr, 1 / t**0.5)", "lr"),
    ("the larger for the smaller", "min(lr, 1 / t**0.5)", "max(lr, 1 / t**0.5)"),
    ("not relative to w", "np.maximum(eps2, rms(w)) * min", "min"),
    ("no clipping", "/ np.maximum(1, rms(U) / d)", ""),
    ("clipping upside down", "rms(U) / d", "d / rms(U)"),
    ("d dropped", "rms(U) / d", "rms(U)"),
    ("a floor added", "np.maximum(V, eps1**2)", "V + eps1**2"),
    ("the floor not squared", "np.maximum(V, eps1**2)", "np.maximum(V, eps1)"),
    ("no root", "np.sqrt(np.maximum(V, eps1**2))", "np.maximum(V, eps1**2)"),
    ("not divided by the mean of all", "R * C / np.maximum(mean(R, -2), eps1)", "R * C"),
    ("a constant decay of the mean", "t**beta2_decay * (mean(np.square(g), -1)",
     "0.1 * (mean(np.square(g), -1)"),
    ("decay after the step", "w = (1 - lr * weight_decay) * w\n        R", "R"),
    ("the size of the decayed w", """a = np.maximum(eps2, rms(w)) * min(lr, 1 / t**0.5)
        w = (1 - lr * weight_decay) * w""", """w = (1 - lr * weight_decay) * w
        a = np.maximum(eps2, rms(w)) * min(lr, 1 / t**0.5)"""),
]  # fmt: skip
SLIPS["Adafactor.vector"] = [
    ("the bounded rate decays w", "(1 - lr * weight_decay)",
     "(1 - min(lr, 1 / t**0.5) * weight_decay)"),
    ("V sums", "(np.square(g) - V)", "np.square(g)"),
    ("the norm for the root mean square", "rms(U) / d", "norm(U) / d"),
    ("eps2 dropped", "np.maximum(eps2, rms(w))", "rms(w)"),
]  # fmt: skip
SLIPS["Adafactor._read_with"] = [("always the dtype's own floor", 'values["eps1"] == 0', "True")]
SLIPS["Muon.nesterov"] = [
    ("no look-ahead", "g + momentum * (b - g)", "b"),
    ("b from before", """b = b + (1 - momentum) * (g - b)
        u = g + momentum * (b - g)""", """u = g + momentum * (b - g)
        b = b + (1 - momentum) * (g - b)"""),
    ("a sum for a mean", "b + (1 - momentum) * (g - b)", "momentum * b + g"),
    ("decay after the step", """w = (1 - lr * weight_decay) * w
        w = w - lr * scale(w, matched) * O""", """w = w - lr * scale(w, matched) * O
        w = (1 - lr * weight_decay) * w"""),
    ("not scaled", "scale(w, matched) * O", "O"),
    ("decay without lr", "1 - lr * weight_decay", "1 - weight_decay"),
    ("the gradient orthogonalised", "orthogonal(u", "orthogonal(g"),
]  # fmt: skip
SLIPS["Muon.plain"] = [
    ("looks ahead", "orthogonal(b", "orthogonal(g + momentum * (b - g)"),
    ("b remembers what was orthogonal", "return w, b", "b = O\n        return w, b"),
]
SLIPS["Muon.orthogonal"] = [
    ("one step less", "range(int(steps))", "range(int(steps) - 1)"),
    ("no cube", "a3 * A @ A", "a3 * A"),
    ("not normed", "X / array_module(X).maximum(norm(X), eps)", "X / eps"),
    ("a step of a constant number", "range(int(steps))", "range(5)"),
    ("coefficients swapped", "(a2 * A + a3 * A @ A)", "(a3 * A + a2 * A @ A)"),
]
SLIPS["Muon.scale"] = [
    ("rows and columns swapped", "rows, columns = w.shape", "columns, rows = w.shape"),
    ("no root", "(1.0, rows / columns) ** 0.5", "(1.0, rows / columns)"),
    ("0.2 dropped", "0.2 * max", "max"),
]
SLIPS["SAM.rule"] = [
    ("downhill", "w + rho", "w - rho"),
    ("not normed", "g / (norm + 1e-12)", "g / (1 + 0 * norm)"),
    ("rho squared", "rho * g", "rho**2 * g"),
    ("the square of the norm", "(norm + 1e-12)", "(norm**2 + 1e-12)"),
]
SLIPS["SAM._twice"] = [
    ("the step of the first gradient", "            closure()\n        return",
     "            pass\n        return"),
    ("the norm of one group alone", "functools.reduce(array_module(flats[0].g).hypot, norms)",
     "norms[0]"),
]  # fmt: skip
SLIPS["Lookahead.rule"] = [
    ("the fast weights go on", "w = slow\n", "w = w + 0 * slow\n"),
    ("alpha the wrong way", "slow + alpha * (w - slow)", "w + alpha * (slow - w)"),
    ("alpha squared", "slow + alpha", "slow + alpha**2"),
    ("away from the fast", "slow + alpha", "slow - alpha"),
]  # fmt: skip
SLIPS["Lookahead._follow"] = [
    ("a step late", "% self.k == 0", "% self.k == 1 % self.k"),
    ("every step", "self.optimizer.t % self.k == 0", "True"),
]
SLIPS["Lookahead.step"] = [("slow starts at 0", "slow[...] = flat.w", "slow[...] = 0 * flat.w")]
