"""The real parts the tests talk to: restics, SFTP, REST and S3 servers, odd source trees.

Each is started by the test (or session) that needs it, on a loopback port of its own and in a temporary
directory, and ended by it. Nothing here imports Highball: a testbed must not share the errors of what it
tests.
"""
