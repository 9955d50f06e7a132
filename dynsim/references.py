"""Who to cite for what: BibTeX by key."""

from __future__ import annotations

BIBTEX = {
    "dyn": """@inproceedings{pei2023dynamics,
  title     = {Dynamics-inspired Neuromorphic Visual Representation Learning},
  author    = {Pei, Zhengqi and Wang, Shuhui},
  booktitle = {Proceedings of the 40th International Conference on Machine Learning},
  series    = {PMLR},
  volume    = {202},
  pages     = {27521--27541},
  year      = {2023}
}""",
    "follow-up": """@misc{anonymous2023understanding,
  title  = {Understanding Deep Neural Networks as Dynamical Systems: Insights into Training and Fine-tuning},
  author = {Anonymous},
  note   = {Paper under double-blind review},
  year   = {2023}
}""",
    "mnist": """@misc{lecun2010mnist,
  title  = {The {MNIST} Database of Handwritten Digits},
  author = {LeCun, Yann and Cortes, Corinna and Burges, Christopher J. C.},
  year   = {2010},
  note   = {CC BY-SA 3.0}
}""",
    "fashion-mnist": """@misc{xiao2017fashion,
  title  = {Fashion-{MNIST}: a Novel Image Dataset for Benchmarking Machine Learning Algorithms},
  author = {Xiao, Han and Rasul, Kashif and Vollgraf, Roland},
  eprint = {1708.07747},
  archivePrefix = {arXiv},
  year   = {2017}
}""",
    "digits": """@misc{alpaydin1998digits,
  title  = {Optical Recognition of Handwritten Digits},
  author = {Alpaydin, Ethem and Kaynak, Cenk},
  howpublished = {UCI Machine Learning Repository, as packaged by scikit-learn},
  year   = {1998}
}""",
    "adam": """@inproceedings{kingma2015adam,
  title     = {Adam: A Method for Stochastic Optimization},
  author    = {Kingma, Diederik P. and Ba, Jimmy},
  booktitle = {International Conference on Learning Representations},
  year      = {2015}
}""",
    "h5md": """@article{debuyl2014h5md,
  title   = {{H5MD}: A structured, efficient, and portable file format for molecular data},
  author  = {de Buyl, Pierre and Colberg, Peter H. and H{\\"o}fling, Felix},
  journal = {Computer Physics Communications},
  volume  = {185},
  number  = {6},
  pages   = {1546--1553},
  year    = {2014}
}""",
}


def used_by(dataset: str, integrator: str, metric: str, twin: bool) -> list[str]:
    """Keys of what a run with these settings built on."""
    keys = ["dyn"]
    if metric == "reciprocal" or integrator == "flow":
        keys.append("follow-up")
    if dataset in BIBTEX:
        keys.append(dataset)
    if integrator == "adam" or twin:
        keys.append("adam")
    return [*keys, "h5md"]
