"""The commands of `dld-d2`, which the scripts in tools/ and train_net.py run as well.

`main` chooses among them; `arguments`, `console`, `datasets`, `errors`, `models` and `pictures` are
what they share. `results` belongs to `read`.

Importing this package silences what other packages warn of and no user can mend.
"""

from dld_d2.commands.third_party import silence

silence()
