"""What the hostile files cost, for a table at the end of the run."""

_worst = {}  # name: (seconds, bytes)
_notes = []


def measured(name, result):
    """Notes a result under a name and returns it."""
    seconds, rss = _worst.get(name, (0, 0))
    _worst[name] = (max(seconds, result.seconds), max(rss, result.max_rss))
    return result


def table(rows=12):
    """Lines: the slowest and the largest."""
    if not _worst:
        return []
    slow = sorted(_worst.items(), key=lambda item: -item[1][0])[:rows]
    large = sorted(_worst.items(), key=lambda item: -item[1][1])[:rows]
    line = "{:<50} {:>8.1f} ms {:>8.1f} MiB".format
    show = lambda items: [line(name, seconds * 1e3, rss / 2**20) for name, (seconds, rss) in items]
    return [f"{len(_worst)} kinds of hostile files; slowest:", *show(slow), "largest:", *show(large)]


def note(text):
    """A figure to be printed at the end."""
    _notes.append(text)


def notes():
    return _notes
