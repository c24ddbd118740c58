"""The table of slips: for each function (of a class, or beside it), what is wrong, and the edit
that makes it so."""

SLIPS: dict[str, list[tuple[str, str, str]]] = {}

SLIPS["SGD.rule"] = [
    ("uphill", "w - lr", "w + lr"),
    ("no learning rate", "lr * g", "g"),
    ("the square of the learning rate", "lr * g", "lr**2 * g"),
    ("the square of the gradient", "lr * g", "lr * g**2"),
    ("lr divides", "lr * g", "g / (1 + lr)"),
]
SLIPS["Momentum.classical"] = [
    ("update order swapped", """v = mu * v - lr * g
        w = w + v""", """w = w + v
        v = mu * v - lr * g"""),
    ("v forgotten each step", "return w", "v = 0 * v\n        return w"),
    ("no friction", "mu * v", "v"),
    ("lr outside, as torch has it", """v = mu * v - lr * g
        w = w + v""", """v = mu * v - g
        w = w + lr * v"""),
    ("lr twice", "w + v", "w + lr * v"),
    ("sign of g flipped", "- lr * g", "+ lr * g"),
    ("mu over the new gradient as well", "mu * v - lr * g", "mu * (v - lr * g)"),
    ("a mean instead of a sum", "- lr * g", "- (1 - mu) * lr * g"),
    ("Nesterov's step", "w + v", "w + mu * v - lr * g"),
    ("the velocity is added twice", "w = w + v", "w = w + v + mu * v"),
]  # fmt: skip
SLIPS["Momentum.torch"] = [
    ("update order swapped", """v = mu * v + g
        w = w - lr * v""", """w = w - lr * v
        v = mu * v + g"""),
    ("lr inside, as the paper has it", """v = mu * v + g
        w = w - lr * v""", """v = mu * v + lr * g
        w = w - v"""),
    ("a mean instead of a sum", "+ g", "+ (1 - mu) * g"),
    ("Nesterov's step", "lr * v", "lr * (g + mu * v)"),
    ("mu over the new gradient as well", "mu * v + g", "mu * (v + g)"),
]  # fmt: skip
SLIPS["Momentum.ema"] = [
    ("(1 - mu) dropped", "(1 - mu) * g", "g"),
    ("mu and 1 - mu swapped", "mu * v + (1 - mu) * g", "(1 - mu) * v + mu * g"),
    ("the gradient counts again", "lr * v", "lr * (v + g)"),
    ("update order swapped", """v = mu * v + (1 - mu) * g
        w = w - lr * v""", """w = w - lr * v
        v = mu * v + (1 - mu) * g"""),
]  # fmt: skip
SLIPS["Nesterov.ahead"] = [
    ("a whole v ahead", "mu * v", "v"),
    ("behind instead of ahead", "w + mu", "w - mu"),
    ("not ahead at all", "w + mu * v", "w + 0 * mu * v"),
    ("twice as far ahead", "mu * v", "2 * mu * v"),
]
SLIPS["Nesterov.shifted"] = [
    ("the v from before", """v = mu * v + g
        w = w - lr * (g + mu * v)""", """w = w - lr * (g + mu * v)
        v = mu * v + g"""),
    ("plain momentum", "g + mu * v", "v"),
    ("mu dropped", "g + mu * v", "g + v"),
    ("g dropped", "(g + mu * v)", "mu * v"),
    ("mu at the wrong one", "g + mu * v", "mu * g + v"),
]  # fmt: skip
SLIPS["Adagrad.rule"] = [
    ("the sum from before", """G = G + g**2
        w = w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(G) + eps)""",
     """w = w - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(G) + eps)
        G = G + g**2"""),
    ("no root", "np.sqrt(G)", "G"),
    ("eps inside the root", "(np.sqrt(G) + eps)", "np.sqrt(G + eps)"),
    ("t counted from 0", "(t - 1)", "t"),
    ("no decay of the rate", "(t - 1) * lr_decay", "0 * lr_decay"),
    ("absolute values summed", "g**2", "np.abs(g)"),
    ("the last square alone", "G + g**2", "0 * G + g**2"),
    ("the root of the rate as well", "* g / (np", "** 0.5 * g / (np"),
]  # fmt: skip
SLIPS["RMSProp.plain"] = [
    ("eps inside the root", "(np.sqrt(s) + eps)", "np.sqrt(s + eps)"),
    ("eps dropped", "(np.sqrt(s) + eps)", "np.sqrt(s)"),
    ("(1 - rho) dropped", "(1 - rho) * g**2", "g**2"),
    ("rho and 1 - rho swapped", "rho * s + (1 - rho) * g**2", "(1 - rho) * s + rho * g**2"),
    ("no square", "g**2", "np.abs(g)"),
    ("no root", "np.sqrt(s)", "s"),
]
SLIPS["RMSProp.plain_inside"] = [
    ("eps outside the root", "np.sqrt(s + eps)", "(np.sqrt(s) + eps)"),
    ("eps squared", "s + eps", "s + eps**2"),
]
SLIPS["RMSProp.centered"] = [
    ("not centered", "s - m**2", "s - 0 * m**2"),
    ("the mean from before", """m = m + (1 - rho) * (g - m)
        w = w - lr * g / (np.sqrt(s - m**2) + eps)""",
     """w = w - lr * g / (np.sqrt(s - m**2) + eps)
        m = m + (1 - rho) * (g - m)"""),
    ("eps inside the root", "(np.sqrt(s - m**2) + eps)", "np.sqrt(s - m**2 + eps)"),
]  # fmt: skip
SLIPS["RMSProp.momentum"] = [
    ("lr inside the velocity", "b = mu * b + g", "b = mu * b + lr * g"),
    ("velocity of raw gradients", """b = mu * b + g / (np.sqrt(s) + eps)
        w = w - lr * b""", """b = mu * b + g
        w = w - lr * b / (np.sqrt(s) + eps)"""),
    ("b forgotten each step", "return w", "b = 0 * b\n        return w"),
    ("a mean instead of a sum", "+ g / (", "+ (1 - mu) * g / ("),
]  # fmt: skip
SLIPS["RMSProp.momentum_inside"] = [("eps outside", "np.sqrt(s + eps)", "(np.sqrt(s) + eps)")]
SLIPS["RMSProp.centered_inside"] = [("not centered", "s - m**2", "s - 0 * m**2")]
SLIPS["RMSProp.centered_momentum"] = [
    ("not centered", "s - m**2", "s - 0 * m**2"),
    ("rho in place of mu", "mu * b", "rho * b"),
]
SLIPS["RMSProp.centered_momentum_inside"] = [
    ("eps outside", "np.sqrt(s - m**2 + eps)", "(np.sqrt(s - m**2) + eps)"),
]
SLIPS["RMSProp."] = [("one form under the name of another", '"centered": centered,',
                      '"centered": plain,')]  # fmt: skip
SLIPS["Adadelta.rule"] = [
    ("u remembers gradients", "delta**2", "g**2"),
    ("u remembers what lr left of the step", "delta**2", "(lr * delta)**2"),
    ("the ratio upside down", "np.sqrt(u + eps) / np.sqrt(v + eps)",
     "np.sqrt(v + eps) / np.sqrt(u + eps)"),
    ("eps outside the roots", "np.sqrt(u + eps) / np.sqrt(v + eps)",
     "(np.sqrt(u) + eps) / (np.sqrt(v) + eps)"),
    ("lr in place of 1 - rho", "u + (1 - rho)", "u + lr"),
    ("lr dropped", "lr * delta\n", "delta\n"),
    ("v from before", """v = rho * v + (1 - rho) * g**2
        delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g""",
     """delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        v = rho * v + (1 - rho) * g**2"""),
    ("u used after its update", """u = rho * u + (1 - rho) * delta**2
        w""", """u = rho * u + (1 - rho) * delta**2
        delta = np.sqrt(u + eps) / np.sqrt(v + eps) * g
        w"""),
]  # fmt: skip
SLIPS["Rprop.rule"] = [
    ("up and down swapped", "s > 0", "s < 0.0"),
    ("the gradient stays after a flip", "g = np.where(s < 0, 0.0, g)", "g = g + 0 * s"),
    ("before keeps the flip", "before = g", "before = s + 0 * g"),
    ("no upper bound", "np.minimum(np.maximum(delta, smallest), largest)",
     "np.maximum(delta, smallest)"),
    ("no lower bound", "np.maximum(delta, smallest)", "delta"),
    ("the first step unbounded", "np.minimum(np.maximum(delta, smallest), largest)",
     "np.where(s == 0, delta, np.minimum(np.maximum(delta, smallest), largest))"),
    ("the product of tiny gradients", "np.sign(g) * before", "g * before"),
    ("the size of g counts", "np.sign(g) * delta", "g * delta"),
    ("zero counts as agreement", "s > 0", "s >= 0"),
    ("clipped between the wrong ends", "np.maximum(delta, smallest)", "np.maximum(delta, largest)"),
    ("before never kept", "before = g", "before = before + 0 * g"),
]  # fmt: skip
SLIPS["Rprop."] = [
    ("before is not 0 at first", '{"delta": "lr"}', '{"delta": "lr", "before": "lr"}'),
]

_DECAY = "w = (1 - lr * weight_decay) * w\n        "
_MEANS = """m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        """
_STEP = "w = w - lr * m_hat / (np.sqrt(v_hat) + eps)"
SLIPS["Adam.paper"] = [
    ("no correction of m", "m / (1 - beta1**t)", "m + 0 * t"),
    ("no correction of v", "v / (1 - beta2**t)", "v + 0 * t"),
    ("corrected with t + 1", "1 - beta1**t", "1 - beta1 ** (t + 1)"),
    ("v corrected with t + 1", "1 - beta2**t", "1 - beta2 ** (t + 1)"),
    ("v corrected with beta1", "1 - beta2**t", "1 - beta1**t"),
    ("m corrected with beta2", "1 - beta1**t", "1 - beta2**t"),
    ("(1 - beta1) dropped", "(1 - beta1) * g", "g"),
    ("(1 - beta2) dropped", "(1 - beta2) * g**2", "g**2"),
    ("beta1 for beta2", "beta2 * v + (1 - beta2)", "beta1 * v + (1 - beta1)"),
    ("eps inside the root", "(np.sqrt(v_hat) + eps)", "np.sqrt(v_hat + eps)"),
    ("eps outside of all", "/ (np.sqrt(v_hat) + eps)", "/ np.sqrt(v_hat) + eps"),
    ("eps added to an uncorrected v", "(np.sqrt(v_hat) + eps)",
     "((np.sqrt(v) + eps) / (1 - beta2**t) ** 0.5)"),
    ("eps squared", "+ eps)", "+ eps**2)"),
    ("no root", "np.sqrt(v_hat)", "v_hat"),
    ("v of m", "g**2", "m**2"),
    ("v of |g|", "g**2", "np.abs(g)"),
    ("m from before", "m_hat = m /", "m_hat = (m - (1 - beta1) * g) /"),
    ("g in place of m", "lr * m_hat", "lr * (g + 0 * m_hat)"),
    ("uphill", "w - lr", "w + lr"),
    ("m corrected for ever", "return w, m, v", "m = m_hat\n        return w, m, v"),
    ("v forgotten", "return w, m, v", "v = 0 * v\n        return w, m, v"),
]  # fmt: skip
SLIPS["Adam.eps_hat"] = [
    ("the paper's eps", "(np.sqrt(v) + eps)",
     "(np.sqrt(v) + eps * (1 - beta2**t) ** 0.5)"),
    ("correction without the root", "(1 - beta2**t) ** 0.5", "(1 - beta2**t)"),
    ("corrections swapped", "(1 - beta2**t) ** 0.5 / (1 - beta1**t)",
     "(1 - beta1**t) ** 0.5 / (1 - beta2**t)"),
]  # fmt: skip
SLIPS["AMSGrad.rule"] = [
    ("max dropped", "np.maximum(M, v)", "v + 0 * M"),
    ("the least for the largest", "np.maximum", "np.minimum"),
    ("v is raised as well", "return w", "v = M\n        return w"),
    ("max of the corrected v", "np.maximum(M, v)", "np.maximum(M, v / (1 - beta2**t))"),
    ("M decays", "np.maximum(M, v)", "np.maximum(beta2 * M, v)"),
    ("M not corrected", "M / (1 - beta2**t)", "M + 0 * t"),
    ("M not used", "np.sqrt(M_hat)", "np.sqrt(v / (1 - beta2**t))"),
]
SLIPS["AdamW.rule"] = [
    (
        "decay after instead of before",
        _DECAY + _MEANS + _STEP,
        _MEANS + _STEP + "\n        w = (1 - lr * weight_decay) * w",
    ),
    (
        "decay of the step's gradient side alone",
        _DECAY + _MEANS + _STEP,
        "decayed = lr * weight_decay * (w - lr * g)\n        " + _MEANS + _STEP + " - decayed",
    ),
    ("no decay", _DECAY, ""),
    ("coupled", _DECAY, "g = g + weight_decay * w\n        "),
    ("decay without lr", "lr * weight_decay)", "weight_decay)"),
    ("growth", "1 - lr * weight_decay", "1 + lr * weight_decay"),
    ("decay inside of Adam's division", "lr * m_hat", "lr * (m_hat + weight_decay * w)"),
    ("no correction", "v / (1 - beta2**t)", "v + 0 * t"),
]
SLIPS["Adamax.rule"] = [
    ("u never decays", "beta2 * u", "u"),
    ("eps in the denominator", "np.abs(g) + eps)", "np.abs(g)) + eps"),
    ("eps outside the maximum", "m / u", "m / (u + eps)"),
    ("no correction", "lr / (1 - beta1**t)", "lr"),
    ("u corrected", "m / u", "m / u * (1 - beta2**t)"),
    ("squares", "np.abs(g)", "g**2"),
    ("the sign of g counts", "np.abs(g)", "g"),
    ("beta1 for beta2", "beta2 * u", "beta1 * u"),
]
SLIPS["NAdam.rule"] = [
    ("the product is not carried", "P = P * mu\n", "P = mu + 0 * P\n"),
    ("mu where mu_next should be", "mu_next / (1 - P * mu_next)", "mu / (1 - P * mu_next)"),
    ("P without mu_next", "(1 - P * mu_next)", "(1 - P)"),
    ("Keras' warm-up", "t * psi", "t"),
    ("no half", "1 - 0.5 * 0.96 ** (t", "1 - 0.96 ** (t"),
    ("t counted from 0", "0.96 ** (t * psi)", "0.96 ** ((t - 1) * psi)"),
    ("no correction of v", "v / (1 - beta2**t)", "v + 0 * t"),
    ("Adam's m", "(1 - mu) / (1 - P) * g + ", ""),
    ("(1 - mu) dropped", "(1 - mu) / (1 - P)", "1 / (1 - P)"),
]
SLIPS["RAdam.rule"] = [
    ("the paper's threshold", "rho > 5", "rho > 4"),
    ("never rectified", "rho > 5", "rho > 0"),
    ("r without its root", "max(square, 0) ** 0.5", "max(square, 0)"),
    ("t from 0", "2 * t * beta2**t", "2 * (t - 1) * beta2**t"),
    ("eps beside the corrected root", "(np.sqrt(v) + eps)",
     "(np.sqrt(v) + eps * (1 - beta2**t) ** 0.5)"),
    ("v not corrected", "r * (1 - beta2**t) ** 0.5", "r"),
    ("m not corrected before", "m_hat * l, m_hat)", "m_hat * l, m)"),
    ("rho too long by one", "2 / (1 - beta2) - 1", "2 / (1 - beta2)"),
    ("2 for 4", "(rho_inf - 4) * (rho_inf - 2)", "(rho_inf - 2) * (rho_inf - 2)"),
    ("r bounded where it is used", "max((rho_inf - 4) * (rho_inf - 2) * rho, 1)",
     "max((rho_inf - 4) * (rho_inf - 2) * rho, 1000)"),
]  # fmt: skip
SLIPS["Lion.rule"] = [
    ("m updated before its use", "u = np.sign(beta1 * m + (1 - beta1) * g)",
     "m = beta2 * m + (1 - beta2) * g\n        u = np.sign(beta1 * m + (1 - beta1) * g)"),
    ("betas swapped", "beta1 * m + (1 - beta1)", "beta2 * m + (1 - beta2)"),
    ("m remembers with beta1", "beta2 * m + (1 - beta2)", "beta1 * m + (1 - beta1)"),
    ("no sign", "np.sign(beta1 * m + (1 - beta1) * g)", "beta1 * m + (1 - beta1) * g"),
    ("decay under the sign", "(1 - beta1) * g)", "(1 - beta1) * g + weight_decay * w)"),
    ("decay without lr", "lr * (u + weight_decay * w)", "lr * u - weight_decay * w"),
    ("(1 - beta2) dropped", "(1 - beta2) * g", "g"),
    ("m forgotten", "return w", "m = 0 * m\n        return w"),
    ("m remembers signs", "(1 - beta2) * g", "(1 - beta2) * u"),
]  # fmt: skip
