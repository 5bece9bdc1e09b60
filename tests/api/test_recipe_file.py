"""Recipes from experiment files: what is read, what wins, and one clear message for every bad file."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch

from diffsr.benchmark.systems import OwnTask
from diffsr.degradations import Clipping, Mixing
from diffsr.diffusion.analytic import WhiteGaussianPrior
from diffsr.errors import ConfigError
from diffsr.experiment_file import (
    BESIDE,
    N_SAMPLES,
    PARTS,
    TALKERS,
    is_recipe_file,
    recipe_parts,
    tasks_of,
)
from diffsr.io.audio import write_audio
from diffsr.likelihoods import DriftingNoise
from diffsr.recipe_file import load_recipe
from diffsr.recipes import TALKER_TASKS, TASKS, make_recipe
from diffsr.restoration.choice import check_choice, choose_recipe
from diffsr.samplers import (
    LearnVoices,
    NoisePerturbed,
    Problem,
    Projection,
    RowNoise,
    TellVoices,
    UpdateNoise,
)
from diffsr.speakers import SpeakerEncoder, VoiceTracker

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
DEFAULT = EXPERIMENTS / "enhance" / "default.yaml"


def experiment(folder: Path, init_args: str, more: str = "") -> Path:
    path = folder / "own.yaml"
    path.write_text(
        f"{more}\nmodel:\n  init_args:\n    prior: ???\n    seed: ${{seed_everything}}\n{init_args}"
    )
    return path


SAMPLER = "    sampler: {class_path: diffsr.samplers.AnnealedSampler, init_args: {n_steps: 7}}\n"
LIKELIHOOD = "    likelihood: {class_path: diffsr.likelihoods.NMFNoise, init_args: {rank: 2}}\n"


def test_an_experiment_is_a_recipe():
    recipe = load_recipe(DEFAULT)
    assert isinstance(recipe.sampler.guidance, NoisePerturbed)
    assert isinstance(recipe.likelihood, DriftingNoise)
    assert isinstance(recipe.degradation, Mixing)
    repair = load_recipe(str(EXPERIMENTS / "repair" / "declip.yaml"))
    assert isinstance(repair.degradation, Clipping)
    assert isinstance(repair.sampler.guidance, Projection)
    assert repair.sampler.estimators == []


def test_two_loads_share_nothing():
    first, second = load_recipe(DEFAULT), load_recipe(DEFAULT)
    assert first.likelihood is not second.likelihood
    assert first.sampler.guidance is not second.sampler.guidance


def test_overrides_win(tmp_path):
    path = experiment(tmp_path, SAMPLER + LIKELIHOOD)
    given = ["sampler.init_args.n_steps=3", "likelihood.init_args.rank=5", "sampler.init_args.churn=0.5"]
    recipe = load_recipe(path, given)
    assert (len(recipe.sampler.sigmas) - 1, recipe.likelihood.rank, recipe.sampler.churn) == (3, 5, 0.5)
    assert len(load_recipe(path).sampler.sigmas) - 1 == 7


def test_an_override_adds_what_is_not_in_the_file(tmp_path):
    path = experiment(tmp_path, SAMPLER + LIKELIHOOD)
    recipe = load_recipe(path, ["degradation=diffsr.degradations.Clipping", "talkers=2", "each_talker=null"])
    assert isinstance(recipe.degradation, Clipping)
    assert recipe.n_sources == 2


@pytest.mark.parametrize(
    ("experiment", "n_talkers", "part"),
    [
        ("enhance", 2, "little_noise"),
        ("enhance", 2, "ceiling"),
        ("dereverb", 2, "second_pass"),
        ("dereverb", 2, "early_reflections"),
        ("separate", 1, "voices"),
    ],
)
def test_parts_that_do_nothing_for_so_many_talkers_are_refused(experiment, n_talkers, part):
    path = EXPERIMENTS / experiment / "default.yaml"
    # What is refused first.
    first = {"early_reflections": "second_pass", "ceiling": "little_noise"}.get(part)
    without = [f"{first}=null"] if first else []
    with pytest.raises(ConfigError, match=rf"default.yaml: {part} does nothing for {n_talkers} talkers?\."):
        load_recipe(path, [f"talkers={n_talkers}", *without])


def test_parts_stand_in_files_of_their_own(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "short.yaml").write_text(
        "class_path: diffsr.samplers.AnnealedSampler\ninit_args:\n  n_steps: 5\n"
        "  estimators: [{class_path: diffsr.samplers.UpdateNoise, init_args: {n_updates: 3}}]\n"
    )
    path = experiment(
        tmp_path, "    sampler: parts/short.yaml\n    likelihood: diffsr.likelihoods.NMFNoise\n"
    )
    recipe = load_recipe(path, ["sampler.init_args.n_steps=4"])
    assert len(recipe.sampler.sigmas) - 1 == 4
    [estimator] = recipe.sampler.estimators
    assert isinstance(estimator, UpdateNoise)
    assert estimator.n_updates == 3


def test_interpolations_are_taken_from_the_whole_file(tmp_path):
    sampler = "    sampler: {class_path: diffsr.samplers.AnnealedSampler, init_args: {n_steps: '${steps}'}}\n"
    path = experiment(tmp_path, sampler + LIKELIHOOD, more="steps: 9")
    assert recipe_parts(path)["sampler"]["init_args"] == {"n_steps": 9}
    assert len(load_recipe(path).sampler.sigmas) - 1 == 9


@pytest.mark.parametrize(
    ("init_args", "overrides", "expected"),
    [
        (LIKELIHOOD, [], "found no model.init_args.sampler"),
        (SAMPLER, [], "found no model.init_args.likelihood"),
        (SAMPLER.replace("n_steps", "n_stps") + LIKELIHOOD, [], "Did you mean 'n_steps'"),
        (SAMPLER + LIKELIHOOD.replace("NMFNoise", "NMFNose"), [], "Did you mean 'NMFNoise'"),
        (SAMPLER + LIKELIHOOD.replace("likelihoods.NMF", "degradations.NMF"), [], "has no class 'NMFNoise'"),
        (SAMPLER.replace("7", "'${nowhere}'") + LIKELIHOOD, [], "nowhere"),
        (SAMPLER.replace("7", "'???'") + LIKELIHOOD, [], "Give every option of the recipe a value"),
        (SAMPLER + "    likelihood: parts/gone.yaml\n", [], "gone.yaml: No such file"),
        (SAMPLER + "    likelihood: {rank: 2}\n", [], "expected the keys class_path and init_args"),
        (SAMPLER + LIKELIHOOD, ["n_steps"], "'n_steps' is no override for"),
        (
            SAMPLER + LIKELIHOOD,
            ["n_steps=3"],
            "expected KEY=VALUE with a key that begins with one of sampler, likelihood",
        ),
        (SAMPLER + LIKELIHOOD, ["sampler.init_args.n_stps=3"], "Did you mean 'n_steps'"),
        (SAMPLER + LIKELIHOOD, ["sampler=3"], "expected the keys class_path and init_args"),
        (SAMPLER + LIKELIHOOD, ["likelihood.class_path=3"], "expected the keys class_path and init_args"),
        (SAMPLER + LIKELIHOOD, ["sampler.init_args.churn=[2"], "'sampler.init_args.churn=[2' is no override"),
        (SAMPLER + LIKELIHOOD, ["n_samples=2", "n_samples=a: b: c"], "'n_samples=a: b: c' is no override"),
        (SAMPLER + "    likelihood: .foo.Bar\n", [], "there is no module '.foo'"),
        (SAMPLER + LIKELIHOOD, ["sampler.init_args.rho=0"], "rho=0"),
        (SAMPLER + LIKELIHOOD, ["sampler.init_args.rho=-1"], "rho=-1"),
        (SAMPLER + LIKELIHOOD, ["sampler.init_args.sigma_max=.inf"], "sigma_max=inf"),
        (SAMPLER + LIKELIHOOD, ["n_samples=true"], "n_samples is True; expected a whole number"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path, init_args, overrides, expected):
    path = experiment(tmp_path, init_args)
    with pytest.raises(ConfigError, match="own.yaml|gone.yaml|override") as error:
        load_recipe(path, overrides)
    assert expected in str(error.value)


def test_an_override_names_a_class_alone(tmp_path):
    path = experiment(tmp_path, SAMPLER + LIKELIHOOD + "    joiner: null\n")
    made = load_recipe(path, ["likelihood=diffsr.likelihoods.DriftingNoise"])
    assert isinstance(made.likelihood, DriftingNoise)


def test_no_experiment(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_recipe(tmp_path / "gone.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected the keys"):
        load_recipe(tmp_path / "list.yaml")


def test_a_preset_is_a_file_by_its_suffix():
    assert is_recipe_file("experiments/enhance/default.yaml")
    assert is_recipe_file(Path("own.YML"))
    assert not is_recipe_file("default")


def settings(thing: object) -> object:
    """What decides what a part of a recipe does: its class and its attributes, all the way down."""
    if isinstance(thing, torch.Tensor):
        return thing.tolist()
    if isinstance(thing, (SpeakerEncoder, VoiceTracker)):
        return settings(thing.config), settings(dict(thing.state_dict()))
    if isinstance(thing, list | tuple):
        return [settings(one) for one in thing]
    if isinstance(thing, dict):
        return {name: settings(value) for name, value in thing.items()}
    if type(thing).__module__.startswith("diffsr."):
        return type(thing).__name__, settings({k: v for k, v in vars(thing).items() if k != "training"})
    return thing


def test_an_override_leaves_out_parts_that_need_not_be_there():
    path = EXPERIMENTS / "joint" / "default.yaml"
    made = load_recipe(path, ["each_talker=null", "joiner=null", "voices=null"])
    assert (made.each_talker, made.joiner, made.voices) == (None, None, None)
    assert load_recipe(path).each_talker is not None
    with pytest.raises(ConfigError, match="found no model.init_args.likelihood; expected an experiment with"):
        load_recipe(path, ["likelihood=null"])


SHIPPED = [task for task in (*TASKS, *TALKER_TASKS) if (EXPERIMENTS / task / "default.yaml").is_file()]


WRITTEN = [
    (task, name)
    for task in SHIPPED
    for name in ("default", "whamr")
    if (EXPERIMENTS / task / f"{name}.yaml").is_file()
]


@pytest.mark.parametrize(("task", "name"), WRITTEN)
def test_the_default_experiment_and_that_on_scenes_are_the_default_recipe(task, name):
    written, coded = load_recipe(EXPERIMENTS / task / f"{name}.yaml"), make_recipe(task)
    for part in PARTS:
        assert settings(getattr(written, part)) == settings(getattr(coded, part))
    assert written.n_samples == coded.n_samples
    assert written.n_sources == coded.n_sources


def test_the_experiment_of_a_known_room_is_what_a_response_makes_of_dereverb(tmp_path):
    response = torch.zeros(1, 4000)
    response[0, 0], response[0, 1600] = 1.0, 0.5
    write_audio(tmp_path / "room.wav", response, 16000)
    path = EXPERIMENTS / "dereverb" / "informed.yaml"
    written = load_recipe(path, [f"degradation.init_args.path={tmp_path / 'room.wav'}"])
    coded = choose_recipe("dereverb", "default", 16000, rir=tmp_path / "room.wav")
    for part in (name for name in PARTS if name != "degradation"):
        assert settings(getattr(written, part)) == settings(getattr(coded, part))
    assert settings(written.degradation)[1] == settings(coded.degradation)[1]
    assert written.n_samples == coded.n_samples


def test_fresh_noise_follows_the_number_of_levels():
    default = EXPERIMENTS / "enhance" / "default.yaml"
    for n_steps, fresh in ((30, 2.0), (60, 5.0), (5, 0.0)):
        assert load_recipe(default, [f"sampler.init_args.n_steps={n_steps}"]).sampler.churn == fresh


def test_the_experiment_for_little_noise_is_what_the_default_takes_for_it():
    default = make_recipe("enhance")
    written, little = load_recipe(EXPERIMENTS / "enhance" / "little_noise.yaml"), default.little_noise
    assert settings(written.likelihood) == settings(little.likelihood)
    assert settings(written.sampler) == settings(little.sampler(default.sampler))
    assert settings(written.joiner) == settings(default.joiner)
    assert written.n_samples == default.n_samples
    assert written.little_noise is None


@pytest.mark.parametrize(
    ("n_calls", "n_steps", "n_samples", "fresh"),
    [(4, 4, 1, 0.0), (30, 30, 1, 2.0), (60, 30, 2, 2.0), (200, 33, 6, 2.3)],
)
def test_calls_are_split_into_levels_and_samples(n_calls, n_steps, n_samples, fresh):
    recipe = TASKS["enhance"](n_calls, 16000)
    assert len(recipe.sampler.sigmas) - 1 == n_steps
    assert recipe.n_samples == n_samples
    assert recipe.sampler.churn == pytest.approx(fresh)


def test_the_number_of_samples_is_read_and_overridden():
    assert load_recipe(DEFAULT, ["n_samples=5"]).n_samples == 5
    with pytest.raises(ConfigError, match="n_samples is 0"):
        load_recipe(DEFAULT, ["n_samples=0"])


def test_the_number_of_talkers_and_their_ranker_are_read_and_overridden():
    path = EXPERIMENTS / "separate" / "default.yaml"
    assert load_recipe(DEFAULT).n_sources == 1
    assert load_recipe(path, ["talkers=3"]).n_sources == 3
    for wrong in ("0", "9", "two", "1.5"):
        with pytest.raises(ConfigError, match="talkers is .*; expected a whole number from 1 to 8"):
            load_recipe(path, [f"talkers={wrong}"])
    with pytest.raises(ConfigError, match="Euler does not correspond to a subclass of Ranker"):
        load_recipe(path, ["ranker.class_path=diffsr.samplers.Euler"])


def test_fast_separation_as_an_experiment_is_that_of_the_preset():
    written, made = load_recipe(EXPERIMENTS / "separate" / "fast.yaml"), make_recipe("separate", "fast")
    assert torch.equal(written.sampler.sigmas, made.sampler.sigmas)
    assert isinstance(written.voices, LearnVoices)
    assert isinstance(made.voices, LearnVoices)
    assert vars(written.voices) == vars(made.voices)
    assert isinstance(make_recipe("separate", "default").voices, TellVoices)


@pytest.mark.parametrize(
    ("name", "n_calls"),
    [
        ("default", 30),
        ("udiffse", 295),
        ("udiffse_plus", 59),
        ("depse_il", 30),
        ("depse_tl", 30),
        ("diffuseen", 59),
    ],
)
def test_calls_of_the_presets(name, n_calls):
    recipe = load_recipe(EXPERIMENTS / "enhance" / f"{name}.yaml")
    y = 0.05 * torch.randn(1, 1, 2048, generator=torch.Generator().manual_seed(0))
    parts = (recipe.degradation, recipe.likelihood)
    problem = Problem.pose(y, WhiteGaussianPrior(0.05), *parts, RowNoise(0, ["a"]))
    done = recipe.sampler.sample(problem, recipe.sampler.start(problem))
    assert done.n_calls == n_calls
    assert done.x.isfinite().all()
    assert 0.1 < float(done.x.std() / y.std()) < 1.2  # the noise has gone somewhere else than up


@pytest.mark.parametrize(
    ("folder", "tasks"),
    [
        ("enhance", ("enhance",)),
        ("dereverb", ("dereverb", "denoise_dereverb")),
        ("denoise_dereverb", ("dereverb", "denoise_dereverb")),
        ("repair", ("declip", "packet_loss", "bandwidth")),
        ("separate", ("separate",)),
        ("joint", ("joint",)),
        ("prior", ()),
        ("sampler", ()),
    ],
)
def test_an_experiment_tells_its_tasks_by_its_module(folder, tasks):
    paths = sorted((EXPERIMENTS / folder).glob("*.yaml"))
    assert paths
    for path in paths:
        assert tasks_of(path) == tasks, path


def test_an_experiment_of_an_own_module_is_for_any_task(tmp_path):
    path = experiment(tmp_path, SAMPLER + LIKELIHOOD)
    assert tasks_of(path) == ()
    check_choice("dereverb", path)
    with pytest.raises(ConfigError, match="default.yaml is for enhance"):
        check_choice("dereverb", DEFAULT)
    check_choice("enhance", EXPERIMENTS / "dereverb" / "default.yaml")  # the task that one need not name


def test_the_benchmark_refuses_an_experiment_for_another_task():
    with pytest.raises(ConfigError, match="the task is dereverb and the experiment .* is for enhance"):
        OwnTask("dereverb", "speech-16k-fast", str(DEFAULT), "cpu", 0)


def test_a_misspelled_part_is_refused_and_options_of_other_modules_are_left_alone(tmp_path):
    wrong = SAMPLER + LIKELIHOOD + "    jointer: {class_path: diffsr.samplers.LogSpectralMean}\n"
    path = experiment(tmp_path, wrong)
    mine = path.read_text().replace("model:\n", "model:\n  class_path: my_lab.EnhanceModule\n")
    path.write_text(mine.replace("my_lab", "diffsr.tasks"))
    with pytest.raises(ConfigError, match="has no option 'jointer'. Did you mean 'joiner'"):
        load_recipe(path)
    path.write_text(mine)
    assert load_recipe(path).joiner is None


def test_the_options_beside_a_recipe_are_those_of_the_modules():
    from diffsr.tasks.restoration import RestorationModule

    options = [name for name in inspect.signature(RestorationModule.__init__).parameters if name != "self"]
    assert sorted(options) == sorted([*PARTS, N_SAMPLES, TALKERS, *BESIDE])


def test_an_own_guidance_without_annotations_is_told_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text(
        "class Mine:\n  needs_gradient = False\n  def correct(self, z, x0, sigma, problem):\n    return x0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sampler = SAMPLER.replace("n_steps: 7", "guidance: {class_path: my_rules.Mine}")
    path = experiment(tmp_path, sampler + LIKELIHOOD)
    with pytest.raises(ConfigError) as error:
        load_recipe(path)
    assert "sampler.init_args.guidance: my_rules.Mine is no Guidance" in str(error.value)
    assert "`def correct(self, z: Sources, x0: Sources, sigma: Tensor, problem: Problem) -> " in str(
        error.value
    )
