"""What runs inside a sandbox while somebody's work is verified: the standard library only, any CPython from 3.9 on."""
