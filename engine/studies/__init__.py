"""Questions about the method; each has one module that is run and writes what it found.

full_gradient   is the U-Net's Jacobian worth its price?
ablation        what does each part of DreamFusion add?
evaluations     what do evaluations of the diffusion model buy, and how few are enough?
peers           how do threestudio's settings do in the embedded world?
fronts          do objects that have a front have one, and no second?
optimisers      what does Adam in the place of Shampoo cost DreamFusion's own recipe?
precision       does what is rounded, or who is beside a scene, cost quality?

The last six hold variations side by side, in the frame of `study`.
"""
