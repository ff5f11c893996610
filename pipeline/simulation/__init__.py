"""A cluster that exists on a clock only: what `dreambatch simulate` puts beneath the real driver.

    assumptions.py   what a cluster and its faults are taken to be; the command's flags
    draws.py         durations, fates and delays, all from one seed
    timeline.py      the clock, and what will happen when
    gang.py          scenes that share one device
    bucket.py        an object store in memory, with its faults
    actor.py         an actor: gang, queue, checkpoints, publishing
    fleet.py         `fleet.Fleet`: machines come, are taken away and replaced
    account.py       device time by what it was spent on, and the world's events
    report.py        what came of it

Times are seconds on the simulated clock unless a name says otherwise. *Work* is the wall time that
a scene takes in a full gang; a gang that is not full does more than one second of it a second.
"""
