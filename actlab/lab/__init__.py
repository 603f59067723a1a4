"""The synthetic lab (paper, section 4).

- `tasks`: four families of regression tasks;
- `feynman`: the equations of one of them;
- `training_view`: what a worker sees of the tasks;
- `training`: many small networks trained at once;
- `tracing`: a function's passes, recorded;
- `listing`: functions as lists of operations, plain data;
- `operations`: the table of such operations, and their C;
- `batch_statistics`: the same with sums, for functions that see their batch;
- `compiled`: the same training by compiled C;
- `backends`: which of the two trains what;
- `reference`: the same training as a reader would write it first;
- `variant`: a lab with settings of its own;
- `distribution`: what labs are drawn from;
- `labs`: suites whose tasks lie in many labs.
"""

from actlab import face

__all__, __getattr__, __dir__ = face(__name__, __path__)
