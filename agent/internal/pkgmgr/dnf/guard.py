# Written by assent-agent; changes are lost. "assent-agent leave" removes it.
#
# Before anything is changed, dnf's transaction is shown to the agent, which knows what was approved and declined. It speaks the
# protocol that apt has for such checks (version 3). Whatever goes wrong here ends the transaction; only if
# the agent's program is gone dnf may work: whoever can remove that can remove this file.
import os
import subprocess
import sys
import urllib.parse

import dnf
import dnf.exceptions

AGENT = "/usr/bin/assent-agent"
OWN = "assent:"


class AssentGuard(dnf.Plugin):
    name = "assent"

    def pre_transaction(self):
        if not os.access(AGENT, os.X_OK):
            return
        try:
            text = self._describe()
            done = text is None or subprocess.run([AGENT, "guard"], input=text.encode()).returncode == 0
        except Exception as e:
            raise dnf.exceptions.Error("assent: this transaction is refused, because it cannot be checked: %s" % e)
        if not done:
            raise dnf.exceptions.Error("assent refuses this transaction")

    def _describe(self):
        tx = getattr(self.base, "transaction", None)
        if not tx:
            return None
        lines = ["VERSION 3"]
        comment = self.base.conf.comment or ""
        if comment.startswith(OWN):
            lines.append("Assent::Transaction=" + _quote(comment[len(OWN):]))
        lines.append("CommandLine::AsString=" + _quote(" ".join(sys.argv)))
        lines.append("")
        going = list(tx.remove_set)
        for p in tx.install_set:
            olds = [o for o in going if o.name == p.name]
            same = [o for o in olds if o.arch == p.arch]
            old = max(same or olds, default=None)
            for o in olds if not same else same:
                going.remove(o)
            order = 1 if old is None else p.evr_cmp(old)
            lines.append(" ".join([p.name, old.evr if old else "-", old.arch if old else "-", "-",
                                   "<" if order > 0 else "=" if order == 0 else ">", p.evr, p.arch, "-", p.localPkg()]))
        for o in going:
            lines.append(" ".join([o.name, o.evr, o.arch, "-", ">", "-", "-", "-", "**REMOVE**"]))
        return "\n".join(lines) + "\n"


def _quote(s):
    return urllib.parse.quote(s, safe=" /=:.,-_+*")
