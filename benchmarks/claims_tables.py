def write(*args): pass
