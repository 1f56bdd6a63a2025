"""The rules a policy is made of: one file each, one line each in ``registry``."""
