def follow(thing, path):
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def mutate(thing, name):
    setattr(thing, name, lambda *a, **k: None)


def raw(do, *arguments):
    import gc

    exchange = next(each for each in gc.get_objects() if type(each).__name__ == "Subject")
    return exchange.ask(do, *arguments)
