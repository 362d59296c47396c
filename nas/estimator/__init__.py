"""scikit-learn estimators over a search: ``fit`` searches, ``predict`` runs the network that was found.

Here belong the estimators (``estimators``), what scikit-learn expects of X and y (``reading``), and what is left of a
fit, in memory and as a file (``fitted``, ``file``). Nothing is searched, trained or encoded here: that is the loop's,
the training's and the dataset's.
"""

from nas.estimator.estimators import NASClassifier, NASRegressor

__all__ = ["NASClassifier", "NASRegressor"]
