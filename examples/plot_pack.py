"""
A pack of networks for a table
==============================

How the ensemble of `skmlp.TabularMLPClassifier` grows, and what its networks are.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from skmlp import TabularMLPClassifier

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
model = TabularMLPClassifier(n_members=8, max_iter=40, random_state=0).fit(X_train, y_train)
print(f"accuracy {model.score(X_test, y_test):.3f} after {model.n_iter_} rounds")

# %%
# Its networks are unlike each other; weights say how much each has to say.
print("weight   loss  epochs  network")
for member in sorted(model.validation_report_["members"], key=lambda member: -member["weight"]):
    embedding = (member["embedding"] or ["no embedding"])[0]
    text = f"{member['solver']}, {member['hidden_layer_sizes']}, {embedding}"
    print(f"{member['weight']:6.2f}  {member['loss']:.3f}  {member['n_epochs']:6d}  {text}")

# %%
# In each round the ensemble is chosen anew, as the one that predicts held-out rows best.
rounds = model.validation_report_["rounds"]
numbers = range(1, len(rounds["loss"]) + 1)
figure, above = plt.subplots()
above.plot(numbers, rounds["loss"])
above.set(xlabel="round", ylabel="log loss of held-out rows")
below = above.twinx()
below.step(numbers, rounds["n_networks"], color="gray")
below.set_ylabel("networks in the ensemble")
plt.show()
