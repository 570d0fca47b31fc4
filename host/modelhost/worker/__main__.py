"""`python -m modelhost.worker`: runs one model beside the host, or describes a plugin. Not for typing by hand."""

import sys


def main(arguments: list[str]) -> int:
    """Run what the host asks; returns the exit status."""
    match arguments:
        case ["run", fd]:
            from modelhost.worker.serve import serve

            return serve(int(fd))
        case ["describe", name]:
            from modelhost.worker.describe import answer

            return answer(name)
    print("modelhost starts this by itself: python -m modelhost.worker run FD | describe NAME", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
