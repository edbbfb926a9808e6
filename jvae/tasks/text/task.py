"""The task of text VAEs."""

from jvae.evaluation.metric import Nouns
from jvae.evaluation.metrics import VAE_METRICS
from jvae.runs.task import Task
from jvae.tasks.text import model, objective
from jvae.tasks.text.config import TEXT_GROUPS
from jvae.tasks.text.data import TokenizerFile, load
from jvae.tasks.text.methods import TEXT_METHODS
from jvae.tasks.text.run import TextRun
from jvae.tasks.text.show import show

TEXT = Task(
    name="text",
    nouns=Nouns("sentence", "token", "</s> counted", floor="language model"),
    groups=TEXT_GROUPS,
    load=load,
    resources=TokenizerFile(),
    build=model.build_model,
    example=model.example_batch,
    objective=objective.build_objective,
    schedules=objective.make_schedules,
    score=objective.score,
    metrics=VAE_METRICS,
    show=show,
    check_data=model.check_data,
    start=model.start,
    phases=model.phases,
    states=model.decoder_states,
    outputs=lambda tokenizer: tokenizer.vocab_size,
    split_axes={"embedding": 0, "output_kernel": 1},
    same=model.SAME,
    methods=TEXT_METHODS,
    interface=TextRun,
)
