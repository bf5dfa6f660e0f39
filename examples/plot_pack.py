"""How the ensemble of a pack grows, and what its networks are.

With matplotlib a picture is saved as ``pack.png``; without, the figures are printed only.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skmlp import TabularMLPClassifier


def main():
    """Fit a pack, and tell what became of its networks."""
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    model = TabularMLPClassifier(n_members=8, max_iter=40, random_state=0).fit(X_train, y_train)
    print(f"accuracy {model.score(X_test, y_test):.3f} after {model.n_iter_} rounds")

    members = model.validation_report_["members"]
    print("weight   loss  epochs  network")
    for member in sorted(members, key=lambda member: -member["weight"]):
        embedding = (member["embedding"] or ["no embedding"])[0]
        text = f"{member['solver']}, {member['hidden_layer_sizes']}, {embedding}"
        print(f"{member['weight']:6.2f}  {member['loss']:.3f}  {member['n_epochs']:6d}  {text}")

    rounds = model.validation_report_["rounds"]
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        print("pip install matplotlib for a picture")
    else:
        figure, above = plt.subplots()
        above.plot(range(1, model.n_iter_ + 1), rounds["loss"])
        above.set(xlabel="round", ylabel="log loss of held-out rows")
        below = above.twinx()
        below.step(range(1, model.n_iter_ + 1), rounds["n_networks"], color="gray")
        below.set_ylabel("networks in the ensemble")
        figure.savefig("pack.png")


if __name__ == "__main__":
    main()
