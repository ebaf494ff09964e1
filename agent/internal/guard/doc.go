// Package guard is the check inside the package manager: apt, and dnf through a plugin that speaks apt's protocol, run it just
// before they unpack anything, whoever started them, and it ends the transaction if the device's plan forbids it (promises 1 and 2, rule C3).
//
// Parse reads what apt says it is about to do (hook protocol version 3), Check decides about it as a pure
// function of the plan, and Main is the hook: it reads the files' digests itself, explains a refusal to the
// person at the keyboard, and leaves an event for the agent to report.
//
// What it guarantees: a declined version never enters through apt or anything built on libapt, in whatever mode
// but observe; a file whose content is not the one that the plan knows under its name, architecture and version
// never enters; Assent's own transactions are held to exactly what the plan orders, in every mode. Where it
// cannot read its plan or the transaction, it refuses.
//
// What it does not do: it never looks at removals and configurations of others' transactions, it knows nothing of
// `dpkg -i` or `rpm` by themselves (which run no hook), nor of `dnf --noplugins`, and it cannot keep root from removing it. Between its look at a file and dpkg's
// the file could be changed by whoever may write it: root, for the archive cache.
package guard
