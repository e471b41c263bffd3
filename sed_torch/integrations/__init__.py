"""A check and a score at the start of training: plain scripts, Lightning, Hugging Face Trainer, pytest, trackers.

============================================  ====================================================
plain PyTorch                                 ``sed_torch.check(model, raise_on="error")``
:mod:`sed_torch.integrations.lightning`       ``Trainer(callbacks=[SedCheck()])``
:mod:`sed_torch.integrations.hf`              ``add_sed_check(trainer)``
:mod:`sed_torch.integrations.pytest_plugin`   ``def test_net(sed_check): sed_check(Net())``
:mod:`sed_torch.integrations.tracking`        ``log_to(run, report)``: TensorBoard, W&B, MLflow
============================================  ====================================================

Each needs its package, so nothing is imported from here.
"""
